"""The demonstration: real flights, the embedded stack and five stories told through a running Airflow."""
