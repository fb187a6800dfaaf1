"""The data-parallel flights model: three processes learn what one learns."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from airflow_mlops.adapters.pods.ranks import examine_ranks
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.container.ranks import RankFolder, rank_command
from airflow_mlops.container.smoke import read_sample
from airflow_mlops.training.contract import Group, JobRequest

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "dags/flights/train_parallel.py")

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
def learned(model_python, made_up_flights, tmp_path):
    """Train in several processes; return the result and the model's folder."""
    datasets = {"train": (made_up_flights(4001, "2013-01", 1),)}

    def run(world_size):
        folder = RankFolder(AttemptFolder(tmp_path / str(world_size)), "01-a")
        group = Group(world_size=world_size, rendezvous="localhost:0")
        request = JobRequest(kind="train", job_id="j", output_uri="file:///x", datasets=datasets, group=group)
        folder.prepare(request)
        folder.attempts.prepare(folder.name, request)
        directory = folder.directory(0).path
        command = rank_command(str(model_python), str(directory), SCRIPT)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
        processes = [
            subprocess.Popen(
                command,
                env={**environment, "MLOPS_POD_NAME": f"pod-{number}", "MLOPS_POD_ADDRESS": "127.0.0.1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number in range(world_size)
        ]
        outputs = [process.communicate(timeout=200)[0] for process in processes]
        found = examine_ranks(folder, world_size)
        assert found.result is not None, outputs
        return found.result, directory / "model"

    return run


def test_three_processes_learn_what_one_learns(learned):
    (one, alone), (three, together) = learned(1), learned(3)
    print(f"\none:   {one.summary['weights']}\nthree: {three.summary['weights']}")
    assert one.summary["rows"] == three.summary["rows"] == 4001
    assert three.summary["weights"] == pytest.approx(one.summary["weights"], rel=1e-9, abs=1e-12)
    assert three.metrics == pytest.approx(one.metrics, rel=1e-9)
    assert 0.2 < one.metrics["log_loss"] < 0.69
    # Each model's sample are the first rows of rank 0, which are the same for the very first one.
    first = [read_sample(path) for path in (alone, together)]
    assert first[0].rows[0] == first[1].rows[0]
    assert first[0].predictions[0] == pytest.approx(first[1].predictions[0], rel=1e-9)
