"""Subcommands of `airflow mlops`."""
