"""The checks, one module for each area; :data:`airflow_mlops.cli.doctor.areas.CHECKS` lists them."""
