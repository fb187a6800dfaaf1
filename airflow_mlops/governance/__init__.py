"""Governance: who may release, what was decided, can it be proved."""
