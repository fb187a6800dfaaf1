"""What a training's pod looks like."""

from __future__ import annotations

import re

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.pods import PodResources, PodVolume, SecretVariable, label_value, pod_name, pod_overlay

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def overlay(**changes):
    values = {
        "container": "base",
        "command": ["python", "-m", "x"],
        "labels": {"a": "b"},
        "annotations": {},
        "resources": PodResources(),
        "artifacts": None,
        "group": 7,
    }
    return pod_overlay(**{**values, **changes})


def test_a_name_is_the_same_for_the_same_identity_and_another_for_another():
    assert pod_name("train", "/jobs/1", "t1") == pod_name("train", "/jobs/1", "t1")
    assert pod_name("train", "/jobs/1", "t1") != pod_name("train", "/jobs/1", "t2")
    assert pod_name("train", "a", "bc") != pod_name("train", "ab", "c")


@pytest.mark.parametrize("task_id", ["train", "group.Train_Flights", "-", "ü", "x" * 250, "a" * 39 + ".b"])
def test_every_task_gives_a_name_that_kubernetes_takes(task_id):
    assert NAME.fullmatch(pod_name(task_id, "i"))


@pytest.mark.parametrize(("text", "kept"), [("flights", True), ("a/b", False), ("x" * 64, False), ("", False)])
def test_a_label_keeps_what_kubernetes_takes(text, kept):
    assert (label_value(text) == text) is kept
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", label_value(text))


def test_memory_is_limited_to_what_is_reserved_and_processors_are_not():
    assert PodResources(cpu="500m", memory="2Gi", ephemeral_storage="1Gi").requirements == {
        "requests": {"cpu": "500m", "memory": "2Gi", "ephemeral-storage": "1Gi"},
        "limits": {"memory": "2Gi"},
    }


def test_gpus_are_limits_of_their_kind():
    assert PodResources(gpus=2).requirements["limits"] == {"nvidia.com/gpu": "2"}
    assert PodResources(gpus=1, gpu_kind="amd.com/gpu").requirements["limits"] == {"amd.com/gpu": "1"}
    assert PodResources(gpus=3, mig_profile="1g.5gb").requirements["limits"] == {"nvidia.com/mig-1g.5gb": "3"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpu": "much"}, r"PodResources\.cpu: 'much' is not accepted; expected processors as text"),
        ({"cpu": 2}, r"PodResources\.cpu: 2 is not accepted"),
        ({"memory": "2GB"}, r"PodResources\.memory: '2GB' is not accepted; expected a size"),
        ({"memory": "2Gi", "memory_limit": "1Gi"}, r"memory_limit: '1Gi' .* expected at least memory, which is 2Gi"),
        ({"gpus": -1}, r"PodResources\.gpus: -1"),
        ({"mig_profile": "1g.5gb"}, r"PodResources\.gpus: 0 .* how many slices"),
        ({"gpus": 1, "mig_profile": "half"}, r"PodResources\.mig_profile: 'half' .* such as '1g.5gb'"),
    ],
)
def test_resources_that_no_cluster_takes_are_refused(given, message):
    with pytest.raises(SpecificationError, match=message):
        PodResources(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mount_path": "data", "claim": "c"}, r"PodVolume\.mount_path: 'data' .* an absolute path"),
        ({"mount_path": "/data"}, r"either a claim or a host_path"),
        ({"mount_path": "/data", "claim": "c", "host_path": "/x"}, r"either a claim or a host_path"),
        ({"mount_path": "/data", "host_path": "x"}, r"PodVolume\.host_path: 'x'"),
    ],
)
def test_a_volume_has_one_source_and_absolute_paths(given, message):
    with pytest.raises(SpecificationError, match=message):
        PodVolume(**given)


def test_a_secret_variable_names_everything():
    with pytest.raises(SpecificationError, match=r"SecretVariable\.key"):
        SecretVariable(variable="TOKEN", secret="registry", key="")


def test_what_is_not_said_is_not_in_the_pod():
    spec = overlay()["spec"]
    assert set(spec) == {"containers", "securityContext"}
    assert spec["securityContext"] == {"supplementalGroups": [7]}


def test_volumes_secrets_and_placement_arrive_in_the_pod():
    resources = PodResources(
        node_selector={"pool": "gpu"},
        tolerations=({"key": "spot", "operator": "Exists"},),
        priority_class="batch",
        service_account="trainer",
        shared_memory="1Gi",
        volumes=(PodVolume(mount_path="/data", claim="data", read_only=True, sub_path="flights"),),
        secrets=(SecretVariable(variable="TOKEN", secret="registry", key="token"),),
    )
    spec = overlay(resources=resources, artifacts=PodVolume(mount_path="/srv/a", host_path="/srv/a"))["spec"]
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert (spec["priorityClassName"], spec["serviceAccountName"]) == ("batch", "trainer")
    assert spec["volumes"] == [
        {"name": "mlops-0", "hostPath": {"path": "/srv/a", "type": "Directory"}},
        {"name": "mlops-1", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
        {"name": "mlops-shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]
    (container,) = spec["containers"]
    assert container["volumeMounts"] == [
        {"name": "mlops-0", "mountPath": "/srv/a", "readOnly": False},
        {"name": "mlops-1", "mountPath": "/data", "readOnly": True, "subPath": "flights"},
        {"name": "mlops-shm", "mountPath": "/dev/shm"},
    ]
    assert container["env"] == [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "registry", "key": "token"}}}]
