"""``airflow mlops doctor``: looks at an installation and says what to do about each finding.

A check is a function that yields findings (:mod:`airflow_mlops.cli.doctor.checks`); it may crash or hang without taking
the others along (:mod:`airflow_mlops.cli.doctor.examine`).
"""
