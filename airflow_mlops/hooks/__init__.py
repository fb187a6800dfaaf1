"""Hooks: from an Airflow connection or option to what a domain needs."""
