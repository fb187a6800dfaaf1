"""How the doctor runs its checks and tells what they found."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_mlops.cli.doctor.areas import AREAS, chosen_checks
from airflow_mlops.cli.doctor.command import doctor, words_of
from airflow_mlops.cli.doctor.examine import Check, examine
from airflow_mlops.cli.doctor.finding import Finding, as_json, as_table, failed, note, ok, summary, warn, worst
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.exceptions import SpecificationError


@pytest.fixture(autouse=True)
def process_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command sets for its process must not outlive a test."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")


def run(*looks: Callable[[Site], Any], site: Site | None = None, **options: Any) -> list[Finding]:
    checks = [Check(area="area", name=f"check {number}", look=look) for number, look in enumerate(looks)]
    return list(examine(checks, site or Site(), **options))


def test_a_check_that_crashes_is_a_finding_and_the_others_go_on() -> None:
    def crashes(site: Site) -> Iterator[Finding]:
        yield ok("first", "seen before")
        raise RuntimeError("the disk is on fire")

    found = run(crashes, lambda _: [ok("second", "fine")])
    assert [(one.check, one.level) for one in found] == [("first", "ok"), ("check 0", "error"), ("second", "ok")]
    assert found[1].message == "this check broke: RuntimeError: the disk is on fire"
    assert worst(found) == "error"


def test_an_error_that_is_raised_on_purpose_is_what_was_found() -> None:
    def refuses(site: Site) -> Iterator[Finding]:
        raise SpecificationError("kind", "x", "a kind")
        yield

    (found,) = run(refuses)
    assert (found.level, found.message) == ("fail", "kind: 'x' is not accepted; expected a kind")


def test_a_check_that_hangs_ends_at_its_time_and_keeps_what_it_found() -> None:
    release = threading.Event()

    def hangs(site: Site) -> Iterator[Finding]:
        yield ok("first", "seen before")
        release.wait(30)

    began = time.monotonic()
    found = run(hangs, lambda _: [ok("second", "fine")], timeout_seconds=0.2)
    release.set()
    assert time.monotonic() - began < 20
    assert [(one.check, one.level) for one in found] == [("first", "ok"), ("check 0", "fail"), ("second", "ok")]
    assert found[1].message == "no answer within 0.2 s"


def test_secrets_of_connections_are_never_told(connection: Callable[..., None]) -> None:
    connection(
        "c",
        conn_type="generic",
        password="open sesame",
        extra={"token": "t0p-s3cret", "deep": {"users": [], "user": {"client-key-data": "QUJD"}}, "region": "north"},
    )
    site = Site()
    assert site.connection("c") is not None
    leaking = failed("c", "open sesame t0p-s3cret QUJD north", "curl https://me:pw@host/ https://pw@host -H t0p-s3cret")
    (found,) = run(lambda _: [leaking], site=site)
    assert (found.message, found.remedy) == ("*** *** *** north", "curl https://***@host/ https://***@host -H ***")
    assert site.hide("s3://aws_default@bucket/x s3://key:pw@bucket") == "s3://aws_default@bucket/x s3://***@bucket"


def test_secrets_in_lists_are_secrets_too(connection: Callable[..., None]) -> None:
    connection("c", conn_type="generic", extra={"kube_config": {"users": [{"user": {"token": "abcdefgh"}}]}})
    site = Site()
    site.connection("c")
    assert site.hide("sent abcdefgh") == "sent ***"


def test_a_table_is_aligned_and_says_what_to_do_below_what_was_found() -> None:
    found = [
        Finding(area="a", check="short", level="ok", message="fine"),
        Finding(area="longer", check="c", level="fail", message="broken\nsecond line", remedy="repair it"),
    ]
    assert as_table(found).splitlines() == [
        "AREA    CHECK  LEVEL  FINDING",
        "a       short  ok     fine",
        "longer  c      fail   broken",
        "                      second line",
        "                      -> repair it",
    ]


def test_as_json_and_the_summary() -> None:
    found = [ok("a", "1"), note("b", "2"), warn("c", "3", "do"), ok("d", "4")]
    assert summary(found) == "1 warn, 1 note, 2 ok"
    document = json.loads(as_json(found))
    assert document["worst"] == "warn"
    assert document["findings"][2] == {"area": "", "check": "c", "level": "warn", "message": "3", "remedy": "do"}


def test_nothing_looked_at_is_no_good_news() -> None:
    assert worst([]) == "error"


def test_areas_can_be_chosen() -> None:
    every = chosen_checks(Site())
    assert list(dict.fromkeys(one.area for one in every)) == list(AREAS)
    assert {one.area for one in chosen_checks(Site(), ["airflow", "dags"])} == {"airflow", "dags"}
    assert [one.name for one in chosen_checks(Site(conn_ids=["mine"]), ["connections"])][-1] == "mine"
    with pytest.raises(SpecificationError, match=r"--only: 'dag' is not accepted; expected one of versions, extras"):
        chosen_checks(Site(), ["dag"])


def arguments(**changes: Any) -> argparse.Namespace:
    given = {
        "only": ["configuration"],
        "conn_id": [],
        "namespace": None,
        "home": None,
        "timeout": None,
        "quiet": False,
        "json": True,
    }
    return argparse.Namespace(**(given | changes))


def test_the_status_is_one_if_something_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as stopped:
        doctor(arguments())
    assert stopped.value.code == 1
    document = json.loads(capsys.readouterr().out)
    assert ("artifact_root", "fail") in [(one["check"], one["level"]) for one in document["findings"]]

    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", "/srv/somewhere")
    doctor(arguments(json=False, quiet=True))
    said = capsys.readouterr().out
    assert "-> set it, or choose another backend" in said
    assert " ok " not in said.splitlines()[1]


def test_what_airflow_logs_is_not_part_of_the_answer(
    capfd: pytest.CaptureFixture[str], connection: Callable[..., None]
) -> None:
    connection("damaged", conn_type="generic", extra="{no JSON")  # reading it logs an error, with a traceback
    doctor(arguments(only=["connections"], conn_id=["damaged"]))
    document = json.loads(capfd.readouterr().out)
    assert document["findings"][-1]["message"] == "defined; the type 'generic' has no test"


def test_a_wrong_option_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for changes, message in (({"only": ["x"]}, "--only: 'x'"), ({"timeout": 0.0}, "--timeout: 0.0 is not accepted")):
        with pytest.raises(SystemExit):
            doctor(arguments(**changes))
        assert message in capsys.readouterr().err


def test_a_home_without_a_stack_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    with pytest.raises(SystemExit):
        doctor(arguments(home=str(tmp_path)))
    assert "expected the folder of a stack that `airflow mlops local up` started" in capsys.readouterr().err


def test_a_stack_is_asked_the_same() -> None:
    from airflow.cli.cli_parser import get_parser

    words = [*("mlops", "doctor", "--only", "dags", "--only", "mlflow", "--conn-id", "c", "--namespace", "n")]
    for more in ([], ["--timeout", "2.5", "--quiet", "--json"]):
        given = get_parser().parse_args([*words, *more, "--home", "/somewhere"])
        again = get_parser().parse_args(words_of(given))
        assert {**vars(given), "home": None} == vars(again)
