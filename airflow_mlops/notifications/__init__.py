"""Notifiers: who is told what, by the callbacks of operators and DAGs."""
