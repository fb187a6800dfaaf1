"""Settings of the places where jobs run: all of them are read strictly."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.backends import Backend, check_settings, read_backend

VOLUME = {"mount_path": "/srv/mlops", "claim": "artifacts"}


@pytest.mark.parametrize("backend", Backend)
def test_a_backend_is_read_by_its_name(backend):
    assert read_backend(backend.value, where="backend") is backend


@pytest.mark.parametrize("value", ["k8s", "Kubernetes", ""])
def test_another_name_is_refused_with_those_that_there_are(value):
    with pytest.raises(SpecificationError) as caught:
        read_backend(value, where="MLOPS_BACKEND")
    assert str(caught.value) == (
        f"MLOPS_BACKEND: {value!r} is not accepted; expected one of 'local', 'docker', 'kubernetes'"
    )


@pytest.mark.parametrize(
    ("backend", "given"),
    [
        (Backend.LOCAL, {}),
        (Backend.DOCKER, {"image": "i", "docker_resources": {"cpus": 1.5, "memory": "2Gi"}, "network": "host"}),
        (Backend.KUBERNETES, {"image": "i", "artifacts": VOLUME, "pod_resources": {"secrets": []}}),
    ],
)
def test_what_is_right_stays_as_it_was_given(backend, given):
    assert check_settings(backend, given, where="here") == given


@pytest.mark.parametrize(
    ("backend", "given", "message"),
    [
        (Backend.LOCAL, {"image": "i"}, "here: {'image': 'i'} is not accepted; expected nothing: the backend 'local'"),
        (Backend.DOCKER, {}, "here.image: None is not accepted; expected a value: image is required"),
        (Backend.DOCKER, {"image": 1}, "here.image: 1 is not accepted; expected a string"),
        (Backend.DOCKER, {"image": "i", "netwrok": "host"}, "here.netwrok: 'host' is not accepted; expected no such"),
        (
            Backend.DOCKER,
            {"image": "i", "docker_resources": {"memory": "2GB"}},
            "DockerResources.memory: '2GB' is not accepted",
        ),
        (Backend.KUBERNETES, {"image": "i", "artifacts": {"mount_path": "/a"}}, "either a claim or a host_path"),
        (
            Backend.KUBERNETES,
            {"image": "i", "pod_resources": {"gpu": 1}},
            "here.pod_resources.gpu: 1 is not accepted; expected no such field; did you mean 'gpus'?",
        ),
        (Backend.KUBERNETES, {"image": "i", "image_pull_policy": "Sometimes"}, "one of 'Always', 'IfNotPresent'"),
        (Backend.KUBERNETES, {"image": "i", "deferrable": "yes"}, "here.deferrable: 'yes' is not accepted"),
    ],
)
def test_what_is_wrong_is_named(backend, given, message):
    with pytest.raises(SpecificationError) as caught:
        check_settings(backend, given, where="here")
    assert message in str(caught.value)
