from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.replay import Replay, start_traffic, stop_traffic, traffic_service
from airflow_mlops.local.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> LocalHome:
    home = LocalHome(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    requests = tmp_path / "flights-2013-04.jsonl"
    requests.write_text("")
    return Replay(
        requests=str(requests), model_name="flights", rate_per_second=20.0, label_delay_seconds=2.5, loop=True
    )


def test_no_document_is_no_traffic(home: LocalHome) -> None:
    assert traffic_service(home, Settings()) is None


def test_the_document_becomes_the_generators_command(home: LocalHome, replay: Replay) -> None:
    start_traffic(home, replay)
    service = traffic_service(home, Settings())
    assert service is not None
    words = " ".join(service.command)
    assert f"-m airflow_mlops.local.traffic --requests {replay.requests} --rate 20.0" in words
    assert "--url http://127.0.0.1:8100/v2/models/flights/infer" in words
    assert f"--labels {home.labels / 'flights' / 'labels.jsonl'} --trace {home.traffic / 'trace.jsonl'} --loop" in words
    assert service.wanted.once
    assert service.wanted.after == ("envoy",)


def test_another_rate_is_another_revision(home: LocalHome, replay: Replay) -> None:
    revisions = set()
    for rate in (20.0, 20.0, 5.0):
        start_traffic(home, replace(replay, rate_per_second=rate))
        service = traffic_service(home, Settings())
        assert service is not None
        revisions.add(service.wanted.revision)
    assert len(revisions) == 2


def test_stopping_says_whether_there_was_any(home: LocalHome, replay: Replay) -> None:
    start_traffic(home, replay)
    assert stop_traffic(home) is True
    assert stop_traffic(home) is False
    assert traffic_service(home, Settings()) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_per_second": 0.0}, "rate: 0.0 .* more than 0 requests per second"),
        ({"rate_per_second": float("nan")}, "rate: nan"),
        ({"label_delay_seconds": -1.0}, "label-delay-seconds: -1.0"),
        ({"model_name": ""}, "model-name"),
    ],
)
def test_impossible_traffic_is_refused(replay: Replay, changes: dict[str, object], message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        replace(replay, **changes)  # type: ignore[arg-type]


def test_a_missing_file_is_named(home: LocalHome, replay: Replay) -> None:
    with pytest.raises(SpecificationError, match=r"requests: '/no/such\.jsonl'.*a file that exists"):
        start_traffic(home, replace(replay, requests="/no/such.jsonl"))


def test_damaged_documents_are_told_apart_from_none(home: LocalHome) -> None:
    home.traffic_desired.write_text("{")
    with pytest.raises(ContractError, match="is not JSON"):
        traffic_service(home, Settings())
    home.traffic_desired.write_text('{"rate_per_secnd": 3}')
    with pytest.raises(SpecificationError, match="did you mean 'rate_per_second'"):
        traffic_service(home, Settings())
