"""One pod for all tries of a setup: made, found, or replaced, whatever was there before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_mlops.adapters.pods.warm import SPEC_LABEL, WarmPods
from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError
from airflow_mlops.training.warm import WarmPodRef

READY = {"phase": "Running", "containerStatuses": [{"name": "base", "state": {"running": {}}}]}


class Cluster:
    """A namespace in which pods take some looks to vanish."""

    namespace = "ml"

    def __init__(self, *pods, looks_until_gone=2):
        self.pods = {pod["metadata"]["name"]: pod for pod in pods}
        self.left, self.made, self.deleted = looks_until_gone, 0, []

    def get(self, name):
        found = self.pods.get(name)
        if found and "deletionTimestamp" in found["metadata"]:
            self.left -= 1
            if self.left <= 0:
                del self.pods[name]
        return self.pods.get(name)

    def create(self, pod):
        if pod.metadata.name in self.pods:
            return None
        self.made += 1
        uid = f"made-{self.made}"
        self.pods[pod.metadata.name] = document(uid=uid, spec=pod.metadata.labels[SPEC_LABEL])
        return SimpleNamespace(metadata=SimpleNamespace(uid=uid))

    def delete(self, name):
        self.deleted.append(self.pods[name]["metadata"]["uid"])
        self.pods[name]["metadata"]["deletionTimestamp"] = "now"

    def events(self, name):
        assert name == "warm"
        return []


def document(uid="old", spec="a", status=None, **metadata):
    return {
        "metadata": {"name": "warm", "uid": uid, "labels": {SPEC_LABEL: spec}, **metadata},
        "status": status or READY,
    }


WANTED = SimpleNamespace(metadata=SimpleNamespace(name="warm", labels={SPEC_LABEL: "a"}))


def ref(uid="old"):
    return WarmPodRef(namespace="ml", name="warm", uid=uid, container="base", python="python", setup="s")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("airflow_mlops.adapters.pods.warm._LOOK_SECONDS", 0.001)


@pytest.mark.parametrize(
    ("before", "uid", "made", "deleted"),
    [
        ([], "made-1", True, []),
        ([document()], "old", False, []),
        ([document(status={"phase": "Pending"})], "old", False, []),
        ([document(spec="b")], "made-1", True, ["old"]),
        ([document(status={"phase": "Failed", "reason": "DeadlineExceeded"})], "made-1", True, ["old"]),
        ([document(status={"phase": "Succeeded"})], "made-1", True, ["old"]),
        ([document(deletionTimestamp="now")], "made-1", True, []),
    ],
    ids=["none", "ready", "pending", "other spec", "failed", "ended", "ending"],
)
def test_there_is_one_pod_that_can_run_steps(before, uid, made, deleted):
    cluster = Cluster(*before)
    assert WarmPods(cluster).ensure(WANTED, "base") == (uid, made)
    assert cluster.deleted == deleted


def test_a_pod_that_does_not_end_is_not_waited_for_for_ever():
    cluster = Cluster(document(deletionTimestamp="now"), looks_until_gone=10**9)
    with pytest.raises(TransientAdapterError, match="pod ml/warm: an earlier one has been ending for 0 s"):
        WarmPods(cluster, patience_seconds=0.05).ensure(WANTED, "base")


def test_a_later_pod_of_the_same_name_is_another_pod():
    warm, cluster = WarmPods(Cluster(document(uid="new"))), Cluster(document(uid="new"))
    assert "the pod is gone" in warm.report(ref()).trouble.message
    assert not WarmPods(cluster).delete(ref())
    assert cluster.deleted == []
    assert WarmPods(cluster).delete(ref("new"))


def test_a_start_that_cannot_succeed_is_not_waited_for():
    waiting = {"reason": "InvalidImageName", "message": "couldn't parse"}
    status = {
        "phase": "Pending",
        "containerStatuses": [{"name": "base", "image": "X:1", "state": {"waiting": waiting}}],
    }
    with pytest.raises(PermanentAdapterError, match=r"pod ml/warm: the image 'X:1' of container 'base' cannot be pull"):
        WarmPods(Cluster(document(status=status))).await_start(ref(), schedule_seconds=60, startup_seconds=60)


def test_a_pod_whose_container_runs_has_started_and_not_before():
    half = {"phase": "Running", "containerStatuses": [{"name": "istio-proxy", "state": {"running": {}}}]}
    with pytest.raises(TransientAdapterError, match=r"pod ml/warm: the pod did not start within 0\.02 s"):
        WarmPods(Cluster(document(status=half))).await_start(ref(), schedule_seconds=1, startup_seconds=0.02)
    WarmPods(Cluster(document())).await_start(ref(), schedule_seconds=1, startup_seconds=0.02)
