from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.local.home import LocalHome, Ports


def test_every_folder_lies_below_the_root(tmp_path: Path) -> None:
    home = LocalHome(tmp_path / "home")
    home.create()
    paths = [home.airflow, home.mlflow, home.artifacts, home.gateway, home.serving, home.predictions, home.labels]
    paths += [home.traffic, home.data, home.logs, home.run, home.dags]
    assert all(path.is_dir() and path.is_relative_to(home.root) for path in paths)


def test_a_relative_root_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert LocalHome(Path("build/home")).root == tmp_path / "build" / "home"


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    home = LocalHome(tmp_path / "home")
    first = home.configure(ports=Ports.from_base(21000))
    second = LocalHome(tmp_path / "home").configure(ports=Ports.from_base(22000))
    assert first.secrets == second.secrets
    assert second.ports.airflow == 22000
    assert stat.S_IMODE(home.settings_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    assert first.secrets.jwt_secret not in repr(first)


def test_settings_round_trip(tmp_path: Path) -> None:
    home = LocalHome(tmp_path)
    saved = home.configure(with_airflow=False, dags_folder="/somewhere", ports=Ports(airflow=9000))
    assert LocalHome(tmp_path).settings() == saved


def test_a_home_that_was_never_up_has_no_settings(tmp_path: Path) -> None:
    assert LocalHome(tmp_path).settings() is None


def test_damaged_settings_name_their_file(tmp_path: Path) -> None:
    home = LocalHome(tmp_path)
    home.configure()
    home.settings_file.write_text("{")
    with pytest.raises(ContractError, match=r"settings\.json is not JSON"):
        home.settings()
    home.settings_file.write_text(json.dumps({"prots": {}}))
    with pytest.raises(ContractError, match=r"settings\.json.*did you mean 'ports'"):
        home.settings()


def test_a_base_gives_distinct_ports_in_one_block_of_a_hundred() -> None:
    ports = Ports.from_base(21000)
    singles = [port for _, port in ports.named()]
    assert len(set(singles)) == len(singles)
    assert all(21000 <= port < 21100 for port in [*singles, *ports.server_range])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"airflow": 0}, r"ports\.airflow: 0 is not accepted; expected a port from 1 to 65535"),
        ({"mlflow": 8080}, r"ports\.mlflow: 8080 .* a port that 'airflow' does not have already"),
        ({"gateway": 8250}, r"ports\.gateway: 8250 .* outside the model servers' 8200-8299"),
        ({"server_first": 65530}, r"ports\.server_count: 100 .* below 65536"),
    ],
)
def test_impossible_ports_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        Ports(**arguments)


def test_an_impossible_base_is_refused() -> None:
    with pytest.raises(SpecificationError, match="port-base: 65500"):
        Ports.from_base(65500)
