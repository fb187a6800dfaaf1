"""Pages about a DAG run and a task instance, asked for at Airflow's own API server."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from airflow_mlops.evidence import Origin
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.live import LivePage, live_parts, publish_live, read_live
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin
from airflow_mlops.rollout.step import abort, step
from tests.airflow.ui.conftest import NOW, RUN, decision, release, rollout

WHO = Origin(dag_id="cd", run_id=RUN, task_id="canary", try_number=1)
TASK = f"cd/{quote(RUN, safe='')}/canary/-1"
NAMES = ("flights-v2", "flights-v1")


def _looked_at(looks: int = 3) -> RolloutState:
    """A rollout that was looked at some times."""
    spec = RolloutSpec(steps=(CanaryStep(weight_percent=20, min_requests=400),), look_seconds=10)
    state = begin(spec=spec, model_name="flights", candidate=NAMES[0], stable=NAMES[1], now=NOW)
    view = RouteView(route="flights", generation=1, weights=dict(zip(NAMES, (20, 80), strict=True)))
    for look in range(looks):
        seen = dict(zip(NAMES, (20, 80), strict=True))
        counters = {
            name: ArmCounters(requests=n * look, errors=n * look // 20, timed=n * look) for name, n in seen.items()
        }
        state, _ = step(state, Observation(route=view, counters=counters), NOW + 10.0 * look)
    return state


def test_a_run_is_a_flow_of_its_own_decisions(client, headers, write):
    write(decision("validation", "flights-month", at=-1))
    write(*release(), decision("gate", at=20, who={"run_id": "another"}, notes={"reason": "of another run"}))
    answer = client.get(f"/mlops/runs/ct/{quote(RUN, safe='')}", headers=headers)
    assert answer.status_code == 200
    assert "the validation says pass" in answer.text
    assert "registered as version 2" in answer.text
    assert "of another run" not in answer.text
    assert "all traffic" not in answer.text  # of the run of the DAG "cd"


def test_an_old_run_is_found_by_the_time_in_its_id(client, headers, write_many):
    later = {"run_id": "manual__2013-04-01T00:00:00+00:00"}
    write_many(*release(), *(decision("drift", at=100 + hour, who=later) for hour in range(280)))
    text = client.get(f"/mlops/runs/ct/{quote(RUN, safe='')}", headers=headers).text
    assert "registered as version 2" in text


def test_a_run_that_decided_nothing_says_so(client, headers, write):
    answer = client.get("/mlops/runs/ct/other", headers=headers)
    assert answer.status_code == 200
    assert "Nothing was decided yet" in answer.text


def test_a_task_shows_its_report_and_its_decisions(client, headers, write):
    write(decision("gate"), decision("registration", notes={"version": "1"}))
    ArtifactStore.from_config().write_bytes(b"<h1>gate</h1>", "reports", "ct", RUN, "gate", "-1", "gate.html")
    answer = client.get(f"/mlops/tasks/ct/{quote(RUN, safe='')}/gate/-1", headers=headers)
    assert "the gate says pass" in answer.text
    assert "registered" not in answer.text
    frame = re.search(r'<iframe[^>]* src="([^"]+)"', answer.text)
    assert frame is not None
    assert client.get(frame[1], headers=headers).text == "<h1>gate</h1>"
    assert answer.headers["content-security-policy"].endswith("form-action 'none'; frame-src 'self'")


@pytest.mark.parametrize("index", ["%7BMAP_INDEX%7D", "undefined", "-1"])
def test_a_task_that_is_not_mapped_has_a_page_whatever_airflow_writes_for_its_index(client, headers, write, index):
    write(decision("gate"))
    answer = client.get(f"/mlops/tasks/ct/{quote(RUN, safe='')}/gate/{index}", headers=headers)
    assert "the gate says pass" in answer.text


class TestLive:
    def test_the_page_and_the_script_get_the_figures_of_the_last_look(self, client, headers, artifact_root):
        publish_live(WHO, _looked_at())
        page = client.get(f"/mlops/tasks/{TASK}", headers=headers)
        assert f'data-live="/mlops/live/{TASK}"' in page.text
        answer = client.get(f"/mlops/live/{TASK}", headers=headers)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
        found = answer.json()
        assert found["rollout"]["weights"] == {"flights-v2": 20, "flights-v1": 80}
        assert [arm["requests"] for arm in found["rollout"]["arms"]] == [40, 160]
        assert found["rollout"]["arms"][0]["share"] == pytest.approx(0.2)
        (errors,) = found["rollout"]["metrics"]
        assert (errors["failures"], errors["trials"], errors["harm_kind"]) == (2, 40, "e_value")
        assert errors["proof_missing"] > 0
        assert "flights-v2" in found["html"]
        assert found["ended"] is False

    def test_nobody_looks_any_more(self, client, headers, artifact_root):
        store = ArtifactStore.from_config()
        publish_live(WHO, _looked_at())
        value = store.read_json(*live_parts("cd", RUN, "canary", -1))
        store.write_json(value | {"looked_at": 1000.0}, *live_parts("cd", RUN, "canary", -1))
        assert client.get(f"/mlops/live/{TASK}", headers=headers).json()["stale"] is True

    @pytest.mark.parametrize("changed", [{"looked_at": 1e300}, {"step_index": 7}, {"started_at": -1.0}])
    def test_what_no_rollout_publishes_is_not_shown(self, client, headers, artifact_root, changed):
        store = ArtifactStore.from_config()
        publish_live(WHO, _looked_at())
        value = store.read_json(*live_parts("cd", RUN, "canary", -1))
        store.write_json(value | changed, *live_parts("cd", RUN, "canary", -1))
        assert client.get(f"/mlops/live/{TASK}", headers=headers).status_code == 404
        assert client.get(f"/mlops/tasks/{TASK}", headers=headers).status_code == 200

    def test_without_a_rollout_there_is_nothing(self, client, headers, artifact_root):
        answer = client.get(f"/mlops/live/{TASK}", headers=headers)
        assert answer.status_code == 404
        assert set(answer.json()) == {"error"}

    def test_a_file_that_is_none_is_left_alone(self, client, headers, artifact_root):
        ArtifactStore.from_config().write_bytes(b'{"x": 1}', *live_parts("cd", RUN, "canary", -1))
        assert client.get(f"/mlops/live/{TASK}", headers=headers).status_code == 404
        assert client.get(f"/mlops/tasks/{TASK}", headers=headers).status_code == 200

    def test_a_rollout_is_not_disturbed_by_what_cannot_be_written(self, artifact_root: Path, caplog):
        (artifact_root / "live").write_text("a file where a folder should be")
        page = LivePage({"dag_id": "cd", "run_id": RUN, "task_id": "canary", "map_index": -1})
        for looks in (2, 3):
            page.publish(_looked_at(looks))
        assert [record.levelname for record in caplog.records if "live page" in record.message] == ["WARNING"]

    def test_what_did_not_change_is_not_written_again(self, artifact_root: Path):
        page, state = LivePage({"dag_id": "cd", "run_id": RUN, "task_id": "canary", "map_index": -1}), _looked_at()
        page.publish(state)
        first = read_live(ArtifactStore.from_config(), "cd", RUN, "canary", -1)
        page.publish(state)
        assert read_live(ArtifactStore.from_config(), "cd", RUN, "canary", -1) == first
        assert [path.name for path in (artifact_root / "live").rglob("*") if path.is_file()] == ["-1.json"]


def test_a_model_is_shown_as_its_rollout_was_looked_at_last(client, headers, write):
    state = _looked_at()
    write(*release("1", "a"), rollout(0, 10, at=20, verdict="inconclusive"))  # recorded at 10 %
    publish_live(WHO, state)
    text = client.get("/mlops/models", headers=headers).text
    assert "flights-v2</b> at 20 %" in text
    publish_live(WHO, abort(state, NOW + 50, "somebody ended it"))
    after = client.get("/mlops/models", headers=headers).text
    assert "On its way" not in after
    assert "flights-v1 <b>100 %" in after


def test_what_another_rollout_of_the_task_published_is_not_taken_for_this_one(client, headers, write):
    publish_live(WHO, replace(_looked_at(), started_at=NOW - 500))
    write(*release("1", "a"), rollout(0, 10, at=20, verdict="inconclusive"))
    assert "flights-v2</b> at 10 %" in client.get("/mlops/models", headers=headers).text


def test_the_page_of_a_model_leads_to_its_rollout(client, headers, write):
    write(*release("1", "a"), rollout(0, 25, at=20, verdict="inconclusive"))
    text = client.get("/mlops/models/flights", headers=headers).text
    assert f'href="/mlops/tasks/{TASK}"' in text
