from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.files import atomic_write_json, read_json
from airflow_mlops.loading import Loading, LoadingPolicy
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.servers import ServerFiles, model_directory
from airflow_mlops.local.settings import Ports, Settings
from airflow_mlops.references import ModelRef
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus

SETTINGS = Settings(ports=Ports(server_first=41000, server_count=3), model_python="/env/bin/python")


@pytest.fixture
def home(tmp_path: Path) -> LocalHome:
    home = LocalHome(tmp_path)
    home.create()
    return home


def want(home: LocalHome, version: str, **changes: object) -> ServerSpec:
    model = ModelRef(uri=(home.root / "model").as_uri(), digest="sha256:" + "a" * 64, format="mlflow", size_bytes=1)
    spec = ServerSpec(name=f"flights-v{version}", model_name="flights", version=version, model=model)
    spec = replace(spec, **changes)  # type: ignore[arg-type]
    atomic_write_json(home.servers_desired / f"{spec.name}.json", encode(spec))
    return spec


def option(command: tuple[str, ...], name: str) -> str:
    return command[command.index(name) + 1]


def test_a_document_becomes_the_servers_command(home: LocalHome) -> None:
    spec = want(home, "3", fault_error_rate=0.25, fault_delay_ms=80)
    services, problems = ServerFiles(home, SETTINGS).services()
    assert problems == {}
    service = services["server-flights-v3"]
    assert service.command[:3] == ("/env/bin/python", "-m", "airflow_mlops.container.server")
    expected = {
        "--name": "flights-v3",
        "--model-name": "flights",
        "--version": "3",
        "--model-dir": str(home.root / "model"),
        "--digest": spec.model.digest,
        "--port": "41000",
        "--prediction-log": str(home.predictions),
        "--fault-error-rate": "0.25",
        "--fault-delay-ms": "80",
    }
    assert {name: option(service.command, name) for name in expected} == expected
    assert service.probe is not None
    assert (service.probe.port, service.probe.path) == (41000, "/v2/models/flights/ready")
    assert "--loading" not in service.command


def test_a_servers_command_says_how_the_model_may_be_loaded(home: LocalHome) -> None:
    policy = LoadingPolicy(trusted_types=("functools.partial",))
    spec = want(home, "3", loading=Loading(policy=policy))
    services, _ = ServerFiles(home, SETTINGS).services()
    given = option(services["server-flights-v3"].command, "--loading")
    assert decode(Loading, json.loads(given)) == spec.loading


def test_no_fault_is_no_option(home: LocalHome) -> None:
    want(home, "3")
    services, _ = ServerFiles(home, SETTINGS).services()
    assert not [word for word in services["server-flights-v3"].command if word.startswith("--fault")]


def test_a_changed_document_is_another_revision(home: LocalHome) -> None:
    files = ServerFiles(home, SETTINGS)
    want(home, "3")
    before = files.services()[0]["server-flights-v3"].wanted.revision
    assert files.services()[0]["server-flights-v3"].wanted.revision == before
    want(home, "3", fault_delay_ms=80)
    assert files.services()[0]["server-flights-v3"].wanted.revision != before


def test_servers_get_distinct_ports_and_keep_them(home: LocalHome) -> None:
    for version in ("1", "2"):
        want(home, version)
    ports = {name: item.port for name, item in ServerFiles(home, SETTINGS).services()[0].items()}
    assert ports == {"server-flights-v1": 41000, "server-flights-v2": 41001}
    (home.servers_desired / "flights-v1.json").unlink()
    later = ServerFiles(home, SETTINGS)
    later.load()
    assert later.services()[0]["server-flights-v2"].port == 41001


def test_a_removed_server_gives_its_port_back(home: LocalHome) -> None:
    files = ServerFiles(home, SETTINGS)
    want(home, "1")
    files.services()
    (home.servers_desired / "flights-v1.json").unlink()
    files.remove_unwanted(set())
    assert list(home.servers_status.iterdir()) == []
    want(home, "2")
    assert files.services()[0]["server-flights-v2"].port == 41000


def test_taken_ports_are_passed_over_and_none_left_is_said(home: LocalHome) -> None:
    with socket.socket() as first, socket.socket() as second:
        for port, server in ((41000, first), (41001, second)):
            server.bind(("127.0.0.1", port))
            server.listen()
        want(home, "1")
        want(home, "2")
        services, problems = ServerFiles(home, SETTINGS).services()
    assert services["server-flights-v1"].port == 41002
    assert "no port is free for model servers among 41000-41002" in problems["server-flights-v2"]
    assert "--server-port-first" in problems["server-flights-v2"]


def test_a_port_that_a_document_asks_for_is_used(home: LocalHome) -> None:
    want(home, "1", port=45678)
    assert ServerFiles(home, SETTINGS).services()[0]["server-flights-v1"].port == 45678


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"nam": "flights-v9"}', "did you mean 'name'"),
        ("[]", "a mapping with the fields of ServerSpec"),
    ],
)
def test_a_damaged_document_is_a_problem_of_that_server_only(home: LocalHome, text: str, message: str) -> None:
    want(home, "1")
    (home.servers_desired / "flights-v9.json").write_text(text)
    services, problems = ServerFiles(home, SETTINGS).services()
    assert set(services) == {"server-flights-v1"}
    assert message in problems["server-flights-v9"]


def test_a_document_under_another_name_is_refused(home: LocalHome) -> None:
    want(home, "1")
    (home.servers_desired / "flights-v1.json").rename(home.servers_desired / "flights-v2.json")
    assert "the name of its file, 'flights-v2'" in ServerFiles(home, SETTINGS).services()[1]["server-flights-v2"]


def test_a_missing_model_environment_is_said(home: LocalHome) -> None:
    want(home, "1")
    problems = ServerFiles(home, replace(SETTINGS, model_python=None)).services()[1]
    assert "there is no model environment" in problems["server-flights-v1"]


def test_status_documents_round_trip_and_damaged_ones_are_written_anew(home: LocalHome) -> None:
    files = ServerFiles(home, SETTINGS)
    status = ServerStatus(name="flights-v1", phase="ready", port=41002, pid=7, restarts=1, since=5.0)
    files.write(status)
    path = home.servers_status / "flights-v1.json"
    assert decode(ServerStatus, read_json(path)) == status
    path.write_text("{")
    later = ServerFiles(home, SETTINGS)
    later.load()
    assert later.status("flights-v1") is None
    assert not path.exists()


def test_models_lie_on_this_machine() -> None:
    assert model_directory("file:///data/my%20model") == Path("/data/my model")
    assert model_directory("/data/model") == Path("/data/model")
    with pytest.raises(PermanentAdapterError, match=r"s3://bucket/model.*local files"):
        model_directory("s3://bucket/model")
