"""The world outside, one client per file."""
