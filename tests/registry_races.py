"""Processes that race for a model's aliases on a real MLflow server, and some that die while they do.

The checks run in a script that has loaded MLflow once and forks the racers, so that they start together.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlops.exceptions import MLOpsError

__all__ = ["check", "claims"]

#: ``{"promote": "2", "expected": "1"}`` or ``{"roll_back": "2"}``. ``dies_before`` and ``sleeps_before`` are the number
#: of a write, ``comes_second`` waits for another's claim, ``lease`` is in seconds.
Deed = Mapping[str, Any]
VERSIONS = 5
#: What a killed process costs those who come after it.
SHORT_LEASE_SECONDS = 6.0


def check(what: str, url: str, files: Path) -> None:
    """Run ``races`` or ``deaths`` against a server.

    :param files: a folder with any files
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, __file__, what, url, files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def _check_races(url: str, files: Path) -> None:
    """Of several who expect the same champion one wins, and every version that ever led was meant to."""
    name = _model(url, files)
    everybody = [str(number) for number in range(1, VERSIONS + 1)]
    champion: str | None = None
    led: set[str | None] = set()
    meant: set[str] = set()
    for _ in range(2):
        rivals = [version for version in everybody if version != champion]
        said = race(url, name, [{"promote": version, "expected": champion} for version in rivals], led)
        winners = [version for version, answer in zip(rivals, said, strict=True) if answer == "done"]
        assert len(winners) == 1, said
        assert champion_of(url, name) == winners[0]
        lost = f"StaleWriteError: the champion of {name!r} is version {winners[0]}, but "
        assert [answer for answer in said if answer != "done" and not answer.startswith(lost)] == []
        champion = winners[0]
        meant.add(champion)
    _race_of_a_roll_back(url, name, champion, everybody, meant, led)
    assert led - {None} <= meant, (led, meant)
    assert claims(url, name) == []


def _race_of_a_roll_back(
    url: str, name: str, champion: str, everybody: list[str], meant: set[str], led: set[str | None]
) -> None:
    rivals = [version for version in everybody if version != champion]
    deeds: list[Deed] = [{"roll_back": champion}, *({"promote": one, "expected": champion} for one in rivals)]
    said = race(url, name, deeds, led)
    winners = [version for version, answer in zip(rivals, said[1:], strict=True) if answer == "done"]
    now = champion_of(url, name)
    assert said[0] == "done"
    assert now != champion, "a rejected version must not lead"
    # Either the roll-back came first, and the one before leads again; or a rival did, and the roll-back let it lead.
    # A rival whose version leads again has what it wanted: it finds itself champion.
    assert len(winners) <= 1, said
    assert now in (meant - {champion} if not winners or winners[0] in meant else set(winners)), (now, said)
    assert now is not None
    meant.add(now)


def _check_deaths(url: str, files: Path) -> None:
    """A process that is killed before any of its writes holds the others up for one lease, and nothing more."""
    name = _model(url, files)
    champion = "1"
    assert race(url, name, [{"promote": champion, "expected": None}]) == ["done"]
    for write in (1, 2):
        assert race(url, name, [{"promote": "2", "expected": "1", "dies_before": write}]) == ["died"]
        assert len(claims(url, name)) == 1, "the claim of the dead stands"
        assert champion_of(url, name) == "1"
        (said,) = race(url, name, [{"promote": str(2 + write), "expected": "1", "lease": SHORT_LEASE_SECONDS}])
        assert said == "done"
        assert claims(url, name) == []
        assert race(url, name, [{"roll_back": str(2 + write)}]) == ["done"]
        assert champion_of(url, name) == "1"
    _one_that_oversleeps(url, name)
    assert race(url, name, [{"promote": "2", "expected": "1"}]) == ["done"], "another try finishes what was begun"
    assert champion_of(url, name) == "2"


def _one_that_oversleeps(url: str, name: str) -> None:
    """Whoever was away for longer than its lease changes nothing when it comes back."""
    late, quick = race(
        url,
        name,
        [
            {"promote": "2", "expected": "1", "sleeps_before": 2, "lease": SHORT_LEASE_SECONDS},
            {"promote": "5", "expected": "1", "comes_second": True, "lease": SHORT_LEASE_SECONDS},
        ],
    )
    assert quick == "done"
    assert late.startswith(f"TransientAdapterError: changing the aliases of {name!r} took "), late
    assert champion_of(url, name) == "5"
    assert claims(url, name) == []
    assert race(url, name, [{"roll_back": "5"}]) == ["done"]


def race(url: str, name: str, deeds: list[Deed], led: set[str | None] | None = None) -> list[str]:
    """Do all deeds at once, each in a process; return ``done``, ``died`` or the error of each.

    :param led: takes everything that the champion is seen to be meanwhile
    """
    running, said = {}, [""] * len(deeds)
    for place, deed in enumerate(deeds):
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            os.write(writing, _do(url, name, deed).encode())
            os._exit(0)
        os.close(writing)
        running[process] = (place, reading)
    while running:
        process, _ = os.waitpid(-1, os.WNOHANG)
        if process == 0:
            if led is not None:
                led.add(champion_of(url, name))
            time.sleep(0.05)
            continue
        place, reading = running.pop(process)
        with os.fdopen(reading) as stream:
            said[place] = stream.read() or "died"
    return said


def champion_of(url: str, name: str) -> str | None:
    from airflow_mlops.adapters.registry.mlflow_look import look
    from airflow_mlops.adapters.registry.mlflow_server import MLflowServer

    return look(MLflowServer(tracking_uri=url), name, newest=0).aliases.get("champion")


def claims(url: str, name: str) -> list[str]:
    from airflow_mlops.adapters.registry.mlflow_lease import CLAIM_PREFIX
    from airflow_mlops.adapters.registry.mlflow_server import MLflowServer

    with MLflowServer(tracking_uri=url).session("a test") as client:
        return [key for key in client.get_registered_model(name).tags if key.startswith(CLAIM_PREFIX)]


def _model(url: str, files: Path) -> str:
    from airflow_mlops.manifest import manifest_of
    from airflow_mlops.references import ModelRef

    name, manifest = f"raced-{uuid.uuid4().hex[:8]}", manifest_of(files)
    model = ModelRef(uri=f"file://{files}", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)
    for number in range(VERSIONS):
        _registry(url).register(name, model, files, idempotency_key=str(number), lineage={}, metrics={})
    return name


def _registry(url: str, deed: Deed | None = None) -> Any:
    from airflow_mlops.adapters.registry.mlflow import MLflowRegistry
    from airflow_mlops.adapters.registry.mlflow_server import MLflowServer

    wanted = deed or {}

    class MortalRegistry(MLflowRegistry):
        writes = 0

        def _writing(self, name: str, what: str) -> Any:
            self.writes += 1
            if self.writes == wanted.get("dies_before"):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.writes == wanted.get("sleeps_before"):
                time.sleep(2 * SHORT_LEASE_SECONDS)
            return super()._writing(name, what)

    return MortalRegistry(MLflowServer(tracking_uri=url), lease_seconds=wanted.get("lease", 60.0))


def _do(url: str, name: str, deed: Deed) -> str:
    from airflow_mlops.governance.release import promote, roll_back

    registry = _registry(url, deed)
    while deed.get("comes_second") and not claims(url, name):
        time.sleep(0.1)
    try:
        if "promote" in deed:
            promote(registry, name, deed["promote"], expected=deed["expected"])
        else:
            roll_back(registry, name, deed["roll_back"], reason="it lost")
    except MLOpsError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


if __name__ == "__main__":
    import mlflow  # noqa: F401 - once, before all processes

    {"races": _check_races, "deaths": _check_deaths}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
