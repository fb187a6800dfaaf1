"""`airflow mlops local …` through Airflow's own command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_mlops.local.airflow import airflow_environment
from airflow_mlops.local.home import LocalHome, Ports

pytest.importorskip("airflow")
pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


def run(airflow_home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    environment |= {"AIRFLOW_HOME": str(airflow_home), **variables}
    return subprocess.run(
        [sys.executable, "-m", "airflow", "mlops", "local", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_folder_is_required(airflow_home: Path) -> None:
    done = run(airflow_home, "status")
    assert done.returncode == 1
    assert "home: None is not accepted; expected a folder, by --home or the option [mlops] local_home" in done.stderr


def test_the_option_names_the_folder(airflow_home: Path, tmp_path: Path) -> None:
    done = run(airflow_home, "status", AIRFLOW__MLOPS__LOCAL_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert f"no stack was ever started in {tmp_path / 'home'}" in done.stdout


def test_status_as_json(airflow_home: Path, tmp_path: Path) -> None:
    done = run(airflow_home, "status", "--json", "--home", str(tmp_path))
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"home": str(tmp_path), "running": False, "healthy": False, "services": []}


def test_down_of_what_was_never_up_is_no_error(airflow_home: Path, tmp_path: Path) -> None:
    done = run(airflow_home, "down", "--home", str(tmp_path))
    assert done.returncode == 0
    assert f"nothing runs in {tmp_path}" in done.stdout


def test_a_taken_port_is_a_clear_error(airflow_home: Path, tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        words = ("up", "--home", str(tmp_path), "--no-airflow", "--port-base", "35000", "--gateway-port", str(port))
        done = run(airflow_home, *words, MLOPS_MODEL_PYTHON=sys.executable)
    assert done.returncode == 1
    assert f"{port} for envoy is in use by process {os.getpid()}" in done.stderr
    assert "choose another with --gateway-port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_dags_folder_is_a_clear_error(airflow_home: Path, tmp_path: Path) -> None:
    done = run(airflow_home, "up", "--home", str(tmp_path), "--dags-folder", "/no/such/dags")
    assert done.returncode == 1
    assert "dags-folder: '/no/such/dags' is not accepted; expected a folder that exists" in done.stderr


def test_traffic_is_started_and_stopped_by_a_document(airflow_home: Path, tmp_path: Path) -> None:
    requests = tmp_path / "flights-2013-04.jsonl"
    requests.write_text("")
    home = LocalHome(tmp_path / "home")
    words = ("traffic", "start", "--home", str(home.root), "--requests", str(requests), "--rate", "20", "--loop")
    assert run(airflow_home, *words).returncode == 0
    wanted = json.loads(home.traffic_desired.read_text())
    assert wanted == {
        "requests": str(requests),
        "model_name": "flights",
        "rate_per_second": 20.0,
        "label_delay_seconds": 1.0,
        "loop": True,
    }
    assert run(airflow_home, "traffic", "stop", "--home", str(home.root)).returncode == 0
    assert not home.traffic_desired.exists()


def test_declaring_the_commands_loads_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "mlflow", "psutil", "great_expectations", "sklearn", "airflow_mlops.local.control")
    code = (
        "import sys, airflow.cli.cli_config; before = set(sys.modules)\n"
        "from airflow_mlops.cli.definition import get_cli_commands; get_cli_commands()\n"
        f"print([name for name in {heavy!r} if name in set(sys.modules) - before])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_option_of_the_stack_is_one_that_this_airflow_knows(tmp_path: Path) -> None:
    variables = airflow_environment(LocalHome(tmp_path), Ports())
    code = (
        "import sys, json\n"
        "from airflow.configuration import conf\n"
        "from airflow.utils.providers_configuration_loader import providers_configuration_loaded\n"
        "options = json.loads(sys.stdin.read())\n"
        "known = lambda section: conf.configuration_description.get(section, {}).get('options', {})\n"
        "check = lambda: [pair for pair in options if pair[1] not in known(pair[0])]\n"
        "print(json.dumps(providers_configuration_loaded(check)()))"
    )
    options = [name.split("__")[1:] for name in variables if name.startswith("AIRFLOW__")]
    names = [[section.lower(), option.lower()] for section, option in options]
    typo = ["core", "no_such_option"]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        input=json.dumps([*names, typo]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(names) > 30
    assert json.loads(done.stdout.splitlines()[-1]) == [typo]
