from __future__ import annotations

import json
from pathlib import Path

from airflow_mlops.local.airflow import airflow_environment
from airflow_mlops.local.home import LocalHome, Ports


def test_the_environment_names_home_ports_and_connections(tmp_path: Path) -> None:
    home = LocalHome(tmp_path / "home")
    ports = Ports.from_base(21000)
    variables = airflow_environment(home, ports, tmp_path / "dags")
    assert variables["AIRFLOW_HOME"] == str(home.airflow)
    assert variables["AIRFLOW__API__PORT"] == "21000"
    assert variables["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:21000/execution/"
    assert variables["AIRFLOW__CORE__DAGS_FOLDER"] == str(tmp_path / "dags")
    assert variables["AIRFLOW__MLOPS__ARTIFACT_ROOT"] == home.artifacts.as_uri()
    assert json.loads(variables["AIRFLOW_CONN_MLFLOW_DEFAULT"]) == {
        "conn_type": "mlflow",
        "host": "http://127.0.0.1:21001",
    }
    gateway = json.loads(variables["AIRFLOW_CONN_MODEL_GATEWAY_DEFAULT"])
    assert (gateway["host"], gateway["port"]) == ("127.0.0.1", 21002)
    predictions, labels = str(home.predictions), str(home.labels)
    assert gateway["extra"].pop("metrics") == {
        "source": "envoy",
        "tallies": [
            {"source": "prediction_log", "predictions": predictions},
            {"source": "labels_files", "predictions": predictions, "labels": labels, "age_seconds": 10.0},
            {"source": "access_log", "directory": str(home.gateway / "access")},
        ],
    }
    assert gateway["extra"] == {
        "admin_url": "http://127.0.0.1:21003",
        "directory": str(home.gateway),
        "serving_directory": str(home.serving),
    }


def test_every_process_of_a_home_shares_its_secrets(tmp_path: Path) -> None:
    home = LocalHome(tmp_path)
    assert airflow_environment(home, Ports()) == airflow_environment(home, Ports())
    other = airflow_environment(LocalHome(tmp_path / "other"), Ports())
    for name in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY"):
        assert airflow_environment(home, Ports())[name] != other[name]


def test_the_model_environment_is_named_once_it_is_known(tmp_path: Path) -> None:
    home = LocalHome(tmp_path)
    assert "AIRFLOW__MLOPS__MODEL_PYTHON" not in airflow_environment(home, Ports())
    home.configure(model_python="/env/bin/python")
    assert airflow_environment(home, Ports())["AIRFLOW__MLOPS__MODEL_PYTHON"] == "/env/bin/python"
