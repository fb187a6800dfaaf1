"""Several processes of one attempt: distinct ranks, one result, sums that all of them get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_mlops.adapters.pods.ranks import examine_ranks
from airflow_mlops.container.attempt import CLAIMED, AttemptFolder
from airflow_mlops.container.collective import Collective
from airflow_mlops.container.ranks import RankFolder, main, rank_command
from airflow_mlops.exceptions import ContractError, PeerLostError
from airflow_mlops.training.attempts import Output
from airflow_mlops.training.contract import Group, JobRequest
from airflow_mlops.training.ports import JobPhase

NAME = "01-a"
SCRIPT = """
import json
from airflow_mlops.container import training_job
with training_job() as job:
    total = job.all_reduce([job.rank, 1])
    seen = {"rank": job.rank, "size": job.world_size, "rendezvous": job.rendezvous, "total": total}
    print(json.dumps(seen))
    (job.output / "model").mkdir()
    (job.output / "model" / "rank.txt").write_text(str(job.rank))
    if job.rank == 0:
        job.finish(metrics={"total": total[0]}, artifacts={"model": "model"})
"""


def ask(world_size, rendezvous="train-0.ranks:0"):
    group = Group(world_size=world_size, rendezvous=rendezvous)
    return JobRequest(kind="train", job_id="d/r/t/-1", output_uri="file:///x", group=group)


@pytest.fixture
def folder(tmp_path):
    ranks = RankFolder(AttemptFolder(tmp_path / "job"), NAME)
    ranks.prepare(ask(3))
    ranks.attempts.prepare(NAME, ask(3))
    return ranks


@pytest.fixture
def script(tmp_path):
    def write(text=SCRIPT):
        path = tmp_path / "train.py"
        path.write_text(text)
        return str(path)

    return write


def start(folder, script, pod, **environment):
    command = rank_command(sys.executable, str(folder.attempts.directory(folder.name).path), script)
    given = {**os.environ, "MLOPS_POD_NAME": pod, "MLOPS_POD_ADDRESS": "127.0.0.1", **environment}
    return subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(*processes):
    outputs = [process.communicate(timeout=60) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def claim_all(path, who):
    folder = RankFolder(AttemptFolder(Path(path)), NAME)
    return [folder.claim(range(40), f"{who}-{turn}") for turn in range(30)]


def test_ranks_that_many_take_at_once_are_all_distinct_and_none_is_left(folder):
    with ThreadPoolExecutor(8) as threads:
        taken = [
            rank for ranks in threads.map(lambda who: claim_all(folder.attempts.path, who), range(8)) for rank in ranks
        ]
    given = [rank for rank in taken if rank is not None]
    assert sorted(given) == list(range(40))
    assert len(taken) - len(given) == 8 * 30 - 40


def test_processes_take_distinct_ranks_too(folder):
    with ProcessPoolExecutor(3) as pool:
        taken = [rank for ranks in pool.map(claim_all, [str(folder.attempts.path)] * 3, "abc") for rank in ranks]
    assert sorted(rank for rank in taken if rank is not None) == list(range(40))
    assert {folder.owner(rank)[0] for rank in range(40)} <= set("abc")


def test_three_processes_leave_one_result_and_each_has_its_own_folder(folder, script):
    path = script()
    done = end(*(start(folder, path, f"pod-{number}") for number in range(3)))
    assert [code for code, *_ in done] == [0, 0, 0], done
    seen = sorted((json.loads(out) for _, out, _ in done), key=lambda one: one["rank"])
    assert [one["rank"] for one in seen] == [0, 1, 2]
    assert {one["size"] for one in seen} == {3}
    assert len({tuple(one["rendezvous"]) for one in seen}) == 1
    assert seen[0]["rendezvous"][1] > 0
    assert [one["total"] for one in seen] == [[3.0, 3.0]] * 3
    found = examine_ranks(folder, 3)
    assert found.output is Output.VERIFIED
    assert found.result.metrics == {"total": 3.0}
    assert [(folder.directory(rank).path / "model" / "rank.txt").read_text() for rank in range(3)] == ["0", "1", "2"]
    assert sorted(folder.owner(rank) for rank in range(3)) == ["pod-0", "pod-1", "pod-2"]


def test_a_pod_too_many_starts_nothing(folder, script):
    path = script()
    end(*(start(folder, path, f"pod-{number}") for number in range(3)))
    ((code, out, errors),) = end(start(folder, path, "pod-3"))
    assert (code, out) == (CLAIMED, "")
    assert "its rank was started before" in errors


def test_a_rank_of_the_cluster_is_taken_once(folder, script):
    path = script("print('runs')")
    folder.publish("127.0.0.1:1")
    ((code, out, _),) = end(start(folder, path, "pod-1", JOB_COMPLETION_INDEX="1"))
    assert (code, out) == (0, "runs\n")
    assert (folder.owner(1), folder.owner(0)) == ("pod-1", None)
    assert folder.directory(1).request().group.rendezvous == "train-0.ranks:1"
    ((code, out, _),) = end(start(folder, path, "pod-again", JOB_COMPLETION_INDEX="1"))
    assert (code, out) == (CLAIMED, "")


def test_ranks_of_an_older_attempt_give_way(folder, script, capsys):
    folder.attempts.prepare("02-b", ask(3))
    assert main(["--directory", str(folder.attempts.directory(NAME).path), script()]) == CLAIMED
    assert "attempt 02-b takes the place of this one" in capsys.readouterr().err
    assert NAME in folder.attempts.claims()


def test_one_rank_that_fails_spoils_the_result(folder, script):
    path = script(SCRIPT + "    if job.rank == 2:\n        raise ValueError('too late')\n")
    end(*(start(folder, path, f"pod-{number}") for number in range(3)))
    assert folder.directory(0).is_sealed
    found = examine_ranks(folder, 3)
    assert found.output is Output.UNUSABLE
    assert "ValueError: too late" in str(found.problem)


def test_a_process_that_works_alone_is_rank_0_of_1(tmp_path, script):
    attempts = AttemptFolder(tmp_path / "alone")
    attempts.prepare(NAME, JobRequest(kind="train", job_id="j", output_uri="file:///x"))
    command = [sys.executable, "-m", "airflow_mlops.container.attempt", "--directory"]
    done = subprocess.run(
        [*command, str(attempts.directory(NAME).path), script()], capture_output=True, text=True, check=True, timeout=60
    )
    seen = json.loads(done.stdout)
    assert seen == {"rank": 0, "size": 1, "rendezvous": ["127.0.0.1", 29500], "total": [0.0, 1.0]}


def test_a_request_for_one_process_is_no_request_for_ranks(folder, script):
    folder.prepare(JobRequest(kind="train", job_id="j", output_uri="file:///x"))
    with pytest.raises(ContractError, match=r"request\.json is for one process"):
        main(["--directory", str(folder.attempts.directory(NAME).path), script()])


@pytest.fixture
def together(free_port):
    """Run a function for each rank at once; return what each returned or raised."""

    def run(size, work, patience_seconds=20.0):
        results = {}

        def one(rank):
            group = Group(world_size=size, rank=rank, rendezvous=f"127.0.0.1:{free_port}")
            collective = Collective(group, "job", patience_seconds=patience_seconds)
            try:
                results[rank] = work(rank, collective)
            except (PeerLostError, ContractError) as error:
                results[rank] = error
            finally:
                collective.close()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return results

    return run


def test_sums_of_many_rounds_and_long_vectors_are_the_same_for_all(together):
    def work(rank, collective):
        rounds = [collective.all_reduce([rank * turn, 0.1 * rank]) for turn in range(50)]
        return rounds, collective.all_reduce(float(rank) for _ in range(200_000))

    results = together(4, work)
    assert results[0] == results[1] == results[2] == results[3]
    rounds, long = results[0]
    assert rounds[7] == [42.0, pytest.approx(0.6)]
    assert long == [6.0] * 200_000


def test_a_rank_that_leaves_is_noticed_by_all(together):
    def work(rank, collective):
        collective.all_reduce([1])
        if rank == 1:
            return "left"
        return collective.all_reduce([1])

    results = together(3, work)
    assert results[1] == "left"
    assert isinstance(results[0], PeerLostError)
    assert str(results[0]).startswith("rank 1 has left the group")
    assert str(results[2]).startswith("rank 0 has left the group")


def test_vectors_of_unequal_length_are_refused(together):
    results = together(2, lambda rank, collective: collective.all_reduce([1.0] * (rank + 1)))
    assert isinstance(results[0], ContractError)
    assert "rank 1 sent 2 numbers in round 1, but rank 0 has 1 in round 1" in str(results[0])


def test_a_rank_that_does_not_come_is_named(free_port):
    group = Group(world_size=3, rank=0, rendezvous=f"127.0.0.1:{free_port}")
    with pytest.raises(PeerLostError, match="ranks 1, 2 did not come to rank 0"):
        Collective(group, "job", patience_seconds=0.0).all_reduce([1])
    group = Group(world_size=3, rank=1, rendezvous=f"127.0.0.1:{free_port}")
    with pytest.raises(PeerLostError, match=r"rank 0 does not answer at 127\.0\.0\.1"):
        Collective(group, "job", patience_seconds=0.0).all_reduce([1])


def test_processes_of_another_job_are_turned_away(free_port, capfd):
    address = f"127.0.0.1:{free_port}"
    own = [Collective(Group(world_size=2, rank=rank, rendezvous=address), "job") for rank in range(2)]
    other = Collective(Group(world_size=2, rank=1, rendezvous=address), "another job")
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(own[0].all_reduce, [1])
        with pytest.raises(PeerLostError, match="rank 0 has left the group"):
            other.all_reduce([5])
        second = threads.submit(own[1].all_reduce, [2])
        assert first.result(20) == second.result(20) == [3.0]
    for collective in (*own, other):
        collective.close()
    assert "which is no rank of this job" in capfd.readouterr().err


def test_a_lone_process_sums_with_nobody():
    group = Group(world_size=1, rendezvous="127.0.0.1:1")
    assert Collective(group, "job").all_reduce([1, 2.5]) == [1.0, 2.5]


def test_ranks_but_0_need_not_finish(folder, script):
    folder.publish("127.0.0.1:1")
    text = "from airflow_mlops.container import training_job\nwith training_job() as job:\n    pass\n"
    end(start(folder, script(text), "p", JOB_COMPLETION_INDEX="2"))
    from airflow_mlops.container.outcome import outcome

    assert outcome(folder.directory(2)).phase is JobPhase.SUCCEEDED
    end(start(folder, script(text), "q", JOB_COMPLETION_INDEX="0"))
    assert "without calling job.finish()" in str(outcome(folder.directory(0)).problem)
