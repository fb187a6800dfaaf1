"""How the embedded Airflow is configured: through its environment, so that no file can contradict it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.settings import Ports

__all__ = ["airflow_environment", "loopback_host"]

# Parts of a stack on one machine are missed within seconds, not minutes: a heartbeat every few seconds, and about
# three of them may be lost before somebody counts as dead.
_BEAT_SECONDS = 3
_DEAD_AFTER_SECONDS = 15

#: Age at which a rollout in the embedded stack judges a prediction by its label: the demonstration's labels come fast.
LABEL_AGE_SECONDS = 10.0


def loopback_host() -> str:
    """Name under which Airflow's components reach each other's logs; for ``[core] hostname_callable``."""
    return "127.0.0.1"


def airflow_environment(home: LocalHome, ports: Ports, dags_folder: Path | str | None = None) -> dict[str, str]:
    """Environment variables that make any ``airflow`` process part of this home's stack.

    :param home: the home; its secrets are made if it has none yet
    :param ports: see :class:`~airflow_mlops.local.settings.Ports`
    :param dags_folder: where the DAGs are; None means the home's own ``dags``
    """
    settings = home.settings() or home.configure(ports=ports)
    url = f"http://127.0.0.1:{ports.airflow}"
    options = {
        **_core(home, url, Path(dags_folder) if dags_folder else home.dags),
        **_detection(),
        ("core", "fernet_key"): settings.secrets.fernet_key,
        ("api", "secret_key"): settings.secrets.api_secret,
        ("api_auth", "jwt_secret"): settings.secrets.jwt_secret,
        ("api", "base_url"): url,
        ("api", "port"): str(ports.airflow),
        ("logging", "worker_log_server_port"): str(ports.worker_log),
        ("logging", "trigger_log_server_port"): str(ports.trigger_log),
        ("mlops", "artifact_root"): home.artifacts.as_uri(),
        ("mlops", "local_home"): str(home.root),
    }
    if settings.model_python:
        options["mlops", "model_python"] = settings.model_python
    variables = {f"AIRFLOW__{section}__{option}".upper(): value for (section, option), value in options.items()}
    return {
        **variables,
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW_CONN_MLFLOW_DEFAULT": _mlflow(ports),
        "AIRFLOW_CONN_MODEL_GATEWAY_DEFAULT": _gateway(home, ports),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def airflow_command(*arguments: str) -> tuple[str, ...]:
    """Run the Airflow of this interpreter, whatever else may be on the path."""
    return (sys.executable, "-m", "airflow", *arguments)


def _core(home: LocalHome, url: str, dags_folder: Path) -> dict[tuple[str, str], str]:
    return {
        ("core", "executor"): "LocalExecutor",
        ("core", "parallelism"): "4",
        ("core", "load_examples"): "False",
        ("core", "dags_folder"): str(dags_folder.expanduser().resolve()),
        ("core", "dags_are_paused_at_creation"): "False",
        ("core", "auth_manager"): "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        # Everybody who reaches the port is an administrator; that is why it listens on the loopback interface only.
        ("core", "simple_auth_manager_all_admins"): "True",
        ("core", "execution_api_server_url"): f"{url}/execution/",
        ("core", "hostname_callable"): "airflow_mlops.local.airflow.loopback_host",
        # SQLite has one writer; the others wait for it instead of giving up after the default of five seconds.
        ("database", "sql_alchemy_conn"): f"sqlite:///{home.airflow / 'airflow.db'}?timeout=60",
        ("api", "host"): "127.0.0.1",
        ("api", "workers"): "1",
    }


def _detection() -> dict[tuple[str, str], str]:
    beat, dead = str(_BEAT_SECONDS), str(_DEAD_AFTER_SECONDS)
    return {
        ("scheduler", "scheduler_heartbeat_sec"): beat,
        ("scheduler", "job_heartbeat_sec"): beat,
        ("scheduler", "scheduler_health_check_threshold"): dead,
        ("scheduler", "orphaned_tasks_check_interval"): "10",
        ("scheduler", "task_instance_heartbeat_timeout"): "45",
        ("scheduler", "task_instance_heartbeat_timeout_detection_interval"): "5",
        ("scheduler", "task_queued_timeout_check_interval"): "20",
        ("scheduler", "trigger_timeout_check_interval"): "5",
        ("triggerer", "job_heartbeat_sec"): beat,
        ("triggerer", "triggerer_health_check_threshold"): dead,
        ("dag_processor", "health_check_threshold"): dead,
        ("dag_processor", "refresh_interval"): "10",
        ("dag_processor", "min_file_process_interval"): "10",
        ("dag_processor", "print_stats_interval"): "300",
        ("core", "min_serialized_dag_update_interval"): "5",
        # A restarting API server is away for some ten seconds; tasks must get over that.
        ("workers", "execution_api_retries"): "10",
        ("workers", "execution_api_retry_wait_max"): "5",
        ("workers", "min_heartbeat_interval"): beat,
        ("workers", "max_failed_heartbeats"): "12",
    }


def _mlflow(ports: Ports) -> str:
    return json.dumps({"conn_type": "mlflow", "host": f"http://127.0.0.1:{ports.mlflow}"})


def _gateway(home: LocalHome, ports: Ports) -> str:
    return json.dumps(
        {
            "conn_type": "model_gateway",
            "host": "127.0.0.1",
            "port": ports.gateway,
            "extra": {
                "admin_url": f"http://127.0.0.1:{ports.gateway_admin}",
                "directory": str(home.gateway),
                "serving_directory": str(home.serving),
                "metrics": {"source": "envoy", "tallies": _tallies(home)},
            },
        }
    )


def _tallies(home: LocalHome) -> list[dict[str, Any]]:
    """Return what a rollout may be judged by beside its requests."""
    predictions = {"predictions": str(home.predictions)}
    labels = {"labels": str(home.labels), "age_seconds": LABEL_AGE_SECONDS}
    return [
        {"source": "prediction_log", **predictions},
        {"source": "labels_files", **predictions, **labels},
        {"source": "access_log", "directory": str(home.gateway / "access")},
    ]
