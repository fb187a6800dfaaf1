"""What a container may use: accepted spellings and the messages of those that are not."""

from __future__ import annotations

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.resources import DockerResources, Ulimit, size_in_bytes


@pytest.mark.parametrize(
    ("text", "expected"), [("512", 512), ("1Ki", 1024), ("512Mi", 512 * 2**20), ("1.5Gi", 3 * 2**29), ("2Ti", 2**41)]
)
def test_sizes(text, expected):
    assert size_in_bytes(text, where="memory") == expected


@pytest.mark.parametrize("text", ["2g", "512M", "-1Mi", "", "Mi", "1 Gi", "٣Mi", 512])
def test_other_spellings_are_refused(text):
    with pytest.raises(SpecificationError, match=r"^memory: .* is not accepted; expected a size in bytes, or with a u"):
        size_in_bytes(text, where="memory")


def test_everything_survives_the_codec():
    given = DockerResources(
        cpus=1.5,
        memory="2Gi",
        shared_memory="64Mi",
        temporary_space="1Gi",
        gpus=-1,
        ulimits={"nofile": Ulimit(soft=1024, hard=4096), "memlock": Ulimit(soft=-1)},
    )
    assert decode(DockerResources, encode(given)) == given
    assert given.memory_bytes == 2**31
    assert DockerResources().memory_bytes is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cpus": 0}, "DockerResources.cpus: 0 is not accepted; expected a number of processors of at least 0.01"),
        ({"memory": "4Mi"}, "DockerResources.memory: '4Mi' is not accepted; expected at least 6Mi"),
        ({"memory": "2g"}, "DockerResources.memory: '2g' is not accepted; expected a size in bytes, or with a unit"),
        ({"shared_memory": "0"}, "DockerResources.shared_memory: '0' is not accepted; expected a size above 0"),
        ({"temporary_space": "x"}, "DockerResources.temporary_space: 'x' is not accepted"),
        ({"gpus": 0}, "DockerResources.gpus: 0 is not accepted; expected a number of at least 1, or -1 for all"),
        ({"gpus": 1, "gpu_ids": ("0",)}, "expected nothing where gpus is given"),
        (
            {"ulimits": {"files": Ulimit(soft=1)}},
            "ulimits.files: 'files' is not accepted; expected one",
        ),
    ],
)
def test_what_no_engine_accepts(fields, message):
    with pytest.raises(SpecificationError) as caught:
        DockerResources(**fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(("soft", "hard"), [(10, 5), (-1, 5), (-2, None), (1, -3)])
def test_limits_that_contradict_themselves(soft, hard):
    with pytest.raises(SpecificationError, match=r"Ulimit\."):
        Ulimit(soft=soft, hard=hard)
