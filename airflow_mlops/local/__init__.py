"""The embedded stack: real software on one machine, started and watched by one supervisor."""
