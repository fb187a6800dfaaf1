"""Jobs as containers of a real engine: really killed, really out of memory."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from airflow_mlops.adapters.jobs.docker_engine import DockerEngineRunner
from airflow_mlops.adapters.jobs.docker_options import ContainerOptions
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.exceptions import (
    ConflictError,
    ContractError,
    DigestMismatchError,
    PermanentAdapterError,
    SpecificationError,
    TransientAdapterError,
)
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef
from airflow_mlops.training.contract import JobRequest, Tracking
from airflow_mlops.training.ports import JobPhase
from airflow_mlops.training.resources import DockerResources, Ulimit

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

GOOD = """
    import time
    from pathlib import Path
    from airflow_mlops.container import training_job
    with training_job() as job:
        print("started", flush=True)
        time.sleep(job.parameters.get("seconds", 0))
        (job.output / "model.txt").write_text("weights")
        job.finish(metrics={"auc": 0.7}, artifacts={"model": "model.txt"})
"""


@pytest.fixture
def runner(engine, trainer_image):
    def make(image=None, **options):
        resources = DockerResources(**{"cpus": 1.0, "memory": "256Mi", **options.pop("resources", {})})
        return DockerEngineRunner(
            engine, ContainerOptions(image=image or trainer_image, resources=resources, **options)
        )

    return make


@pytest.fixture
def job(engine, tmp_path):
    """A job's directory; its container does not outlive the test."""
    yield tmp_path / "job"
    for found in containers(engine, tmp_path):
        engine.remove_container(found, force=True, v=True)


@pytest.fixture
def script(tmp_path):
    def write(text=GOOD):
        folder = tmp_path / "code"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        file = folder / "script.py"
        file.write_text(textwrap.dedent(text))
        return str(file)

    return write


def request_for(**parameters):
    return JobRequest(kind="train", job_id="j", output_uri="file:///j", parameters=parameters)


def containers(engine, tmp_path):
    """Ids of all containers that share files below the test's folder."""
    found = engine.containers(all=True, filters={"label": "airflow-mlops.job"})
    return [one["Id"] for one in found if any(mount["Source"].startswith(str(tmp_path)) for mount in one["Mounts"])]


def wait(runner, job, seconds=60):
    deadline = time.monotonic() + seconds
    while runner.phase(job) is JobPhase.RUNNING:
        assert time.monotonic() < deadline, JobDirectory(job).log_tail()
        time.sleep(0.05)
    return runner.phase(job)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def log_of(job):
    return JobDirectory(job).log_tail()


def test_job_runs_and_its_result_is_collected(engine, runner, job, script, tmp_path):
    one = runner()
    one.start(job, request_for(), script(), {})
    assert wait(one, job) is JobPhase.SUCCEEDED
    result = one.collect(job)
    assert (result.metrics, result.artifacts) == ({"auc": 0.7}, {"model": "model.txt"})
    assert "started" in log_of(job)
    assert containers(engine, tmp_path) == []
    one.start(job, request_for(), script(), {})
    assert containers(engine, tmp_path) == [], "what succeeded is not run again"


def test_the_container_may_do_little(engine, runner, job, script):
    text = """
        import json, os, resource, sys
        from pathlib import Path
        from airflow_mlops.container import training_job
        def writable(path):
            try:
                Path(path).write_text("x")
            except OSError as error:
                return error.strerror
            return "yes"
        status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        with training_job() as job:
            job.finish(metrics={}, summary={
                "uid": os.getuid(), "root": writable("/usr/x"), "code": writable(Path(__file__).parent / "x"),
                "tmp": writable("/tmp/x"), "capabilities": status["CapEff"], "nofile": resource.getrlimit(7)[0],
                "new_privileges": status["NoNewPrivs"], "given": os.environ["GIVEN"],
                "tmp_size": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize,
                "shm_size": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
                "airflow": sum(name.startswith("AIRFLOW") for name in os.environ)})
    """
    one = runner(
        resources={
            "temporary_space": "8Mi",
            "shared_memory": "4Mi",
            "ulimits": {"nofile": Ulimit(soft=512, hard=1024)},
        }
    )
    one.start(job, request_for(), script(text), {"GIVEN": "yes"})
    wait(one, job)
    uid = 10001 if os.geteuid() == 0 else os.geteuid()
    assert one.collect(job).summary == {
        "uid": uid,
        "root": "Read-only file system",
        "code": "Read-only file system",
        "tmp": "yes",
        "capabilities": "0000000000000000",
        "nofile": 512,
        "new_privileges": "1",
        "given": "yes",
        "airflow": 0,
        "tmp_size": 8 * 2**20,
        "shm_size": 4 * 2**20,
    }


def test_inputs_are_verified_inside(runner, job, script, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("a\n1\n")
    data.chmod(0o644)
    text = """
        from airflow_mlops.container import training_job
        with training_job() as job:
            job.finish(metrics={"rows": len(job.paths("train")[0].read_text().splitlines()) - 1})
    """
    ref = DatasetRef(uri=f"file://{data}", digest=manifest_of(data).digest, format="csv", size_bytes=4, rows=1)
    asked = JobRequest(kind="train", job_id="j", output_uri="file:///j", datasets={"train": (ref,)})
    one = runner()
    one.start(job, asked, script(text), {})
    wait(one, job)
    assert one.collect(job).metrics == {"rows": 1.0}
    data.write_text("a\n2\n")
    again = JobRequest(kind="train", job_id="j2", output_uri="file:///j", datasets={"train": (ref,)})
    one.start(job, again, script(text), {})
    wait(one, job)
    with pytest.raises(PermanentAdapterError, match=r"DigestMismatchError: .*the content changed"):
        one.collect(job)


def test_failure_shows_the_last_lines(runner, job, script):
    one = runner()
    one.start(job, request_for(), script("import sys\nprint('about to fail')\nsys.exit(3)"), {})
    assert wait(one, job) is JobPhase.FAILED
    with pytest.raises(PermanentAdapterError, match=r"(?s)ended with exit code 3; last lines of .*about to fail"):
        one.collect(job)


def test_out_of_memory_is_named(engine, runner, job, script, tmp_path):
    one = runner(resources={"memory": "64Mi"})
    one.start(job, request_for(), script("held = []\nwhile True: held.append(bytearray(1 << 20))"), {})
    assert wait(one, job) is JobPhase.FAILED
    for _ in range(2):
        with pytest.raises(PermanentAdapterError, match=r"ran out of memory and was killed: its limit is 64 MiB"):
            one.collect(job)
    assert containers(engine, tmp_path) == []


def test_killed_worker_finds_its_container_again(engine, runner, job, script, tmp_path, trainer_image):
    entrypoint = script()
    worker = f"""
        import sys, time, docker
        from pathlib import Path
        from airflow_mlops.adapters.jobs.docker_engine import DockerEngineRunner
        from airflow_mlops.adapters.jobs.docker_options import ContainerOptions
        from airflow_mlops.training.contract import JobRequest
        from airflow_mlops.training.resources import DockerResources
        client = docker.APIClient(version="auto", base_url={os.environ.get("DOCKER_HOST")!r})
        options = ContainerOptions(image={trainer_image!r}, resources=DockerResources(cpus=1.0, memory="256Mi"))
        request = JobRequest(kind="train", job_id="j", output_uri="file:///j", parameters={{"seconds": 4}})
        DockerEngineRunner(client, options).start(Path({str(job)!r}), request, {entrypoint!r}, {{}})
        time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(worker)])
    wait_until(lambda: "started" in log_of(job))
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = containers(engine, tmp_path)
    one = runner()
    one.start(job, request_for(seconds=4), entrypoint, {})
    assert containers(engine, tmp_path) == before
    assert wait(one, job) is JobPhase.SUCCEEDED
    assert one.collect(job).metrics == {"auc": 0.7}
    assert JobDirectory(job).log.read_text().count("started") == 1


@pytest.mark.parametrize("boundary", ["create", "prepare", "start"])
def test_a_start_that_was_cut_off_is_finished_by_the_next(
    engine, runner, job, script, tmp_path, boundary, trainer_image
):
    entrypoint = script()
    worker = f"""
        import os, docker
        from pathlib import Path
        from airflow_mlops.adapters.jobs import docker_client, docker_engine
        from airflow_mlops.adapters.jobs.docker_options import ContainerOptions
        from airflow_mlops.container.directory import JobDirectory
        from airflow_mlops.training.contract import JobRequest
        def cut_off(owner, name):
            real = getattr(owner, name)
            def then_die(*arguments, **keywords):
                real(*arguments, **keywords)
                os.kill(os.getpid(), 9)
            setattr(owner, name, then_die)
        cut_off(*dict(create=(docker_client.DockerClient, "create"), prepare=(JobDirectory, "prepare"),
                      start=(docker_client.DockerClient, "start"))[{boundary!r}])
        client = docker.APIClient(version="auto", base_url={os.environ.get("DOCKER_HOST")!r})
        request = JobRequest(kind="train", job_id="j", output_uri="file:///j", parameters={{"seconds": 1}})
        runner = docker_engine.DockerEngineRunner(client, ContainerOptions(image={trainer_image!r}))
        runner.start(Path({str(job)!r}), request, {entrypoint!r}, {{}})
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(worker)], check=False).returncode == -9
    one = runner()
    one.start(job, request_for(seconds=1), entrypoint, {})
    assert len(containers(engine, tmp_path)) == 1
    assert wait(one, job) is JobPhase.SUCCEEDED
    one.collect(job)
    assert JobDirectory(job).log.read_text().count("started") == 1


def test_many_starts_at_once_make_one_container(engine, runner, job, script, tmp_path):
    entrypoint, problems = script(), []

    def start():
        try:
            runner().start(job, request_for(seconds=2), entrypoint, {})
        except Exception as error:  # noqa: BLE001 - shown below
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(containers(engine, tmp_path)) == 1
    assert wait(runner(), job) is JobPhase.SUCCEEDED
    assert JobDirectory(job).log.read_text().count("started") == 1


def test_another_request_waits_for_nobody(runner, job, script):
    one = runner()
    one.start(job, request_for(seconds=30), script(), {})
    with pytest.raises(ConflictError, match="a job with another request is running here"):
        one.start(job, request_for(seconds=31), script(), {})
    assert one.stop(job)


def test_stop_ends_and_removes_the_container(engine, runner, job, script, tmp_path):
    one = runner()
    assert not one.stop(job)
    one.start(job, request_for(seconds=300), script(), {})
    wait_until(lambda: "started" in log_of(job))
    assert one.stop(job)
    assert containers(engine, tmp_path) == []
    assert one.phase(job) is not JobPhase.RUNNING
    with pytest.raises(TransientAdapterError, match=r"killed by signal 15 \(SIGTERM\)"):
        one.collect(job)


def test_container_that_somebody_killed_or_removed(engine, runner, job, script, tmp_path):
    one = runner()
    for number, remove in enumerate((False, True)):
        one.start(job, request_for(seconds=300, number=number), script(), {})
        wait_until(lambda: "started" in log_of(job))
        if remove:
            engine.remove_container(containers(engine, tmp_path)[0], force=True)
        else:
            engine.kill(containers(engine, tmp_path)[0])
        assert wait(one, job) is JobPhase.LOST
        with pytest.raises(TransientAdapterError, match=r"ended from outside, with exit code 137|processes are gone"):
            one.collect(job)
        JobDirectory(job).log.write_text("")


def test_result_that_was_tampered_with(runner, job, script):
    one = runner()
    one.start(job, request_for(), script(), {})
    assert wait(one, job) is JobPhase.SUCCEEDED
    (job / "model.txt").write_text("other weights")
    with pytest.raises(DigestMismatchError, match=r"model\.txt"):
        one.collect(job)


def test_image_without_this_package(runner, job, script, base_image):
    one = runner(image=base_image)
    one.start(job, request_for(), script(), {})
    assert wait(one, job) is JobPhase.FAILED
    with pytest.raises(PermanentAdapterError, match=r"(?s)exit code 1 before the job began.*airflow_mlops"):
        one.collect(job)


def test_image_that_does_not_exist(runner, job, script):
    with pytest.raises((PermanentAdapterError, TransientAdapterError), match="no-such-image:1"):
        runner(image="localhost:1/no-such-image:1").start(job, request_for(), script(), {})


def test_gpus_that_are_not_there(engine, runner, job, script, tmp_path):
    if "nvidia" in str(engine.info().get("Runtimes")):
        pytest.skip("this engine has GPUs")
    with pytest.raises(PermanentAdapterError, match="could not select device driver"):
        runner(resources={"gpus": 1}).start(job, request_for(), script(), {})
    assert containers(engine, tmp_path) == []


def test_script_that_reports_nothing(runner, job, script):
    one = runner()
    one.start(job, request_for(), script("print('hello')"), {})
    assert wait(one, job) is JobPhase.FAILED
    with pytest.raises(ContractError, match=r"left no result\.json; it must call job\.finish"):
        one.collect(job)


def test_module_as_entrypoint(runner, job):
    one = runner()
    one.start(job, request_for(), "this", {})
    wait(one, job)
    assert "The Zen of Python" in JobDirectory(job).log.read_text()


def test_what_is_refused_before_anything_starts(runner, job, script):
    with pytest.raises(SpecificationError, match=r"entrypoint: '/no/script\.py' is not accepted"):
        runner().start(job, request_for(), "/no/script.py", {})
    tracked = JobRequest(
        kind="train", job_id="j", output_uri="file:///j", tracking=Tracking(uri="http://127.0.0.1:5000", run_id="r")
    )
    with pytest.raises(SpecificationError, match=r"tracking\.uri: .* or network='host'"):
        runner().start(job, tracked, script(), {})
    with pytest.raises(SpecificationError, match="image: ' ' is not accepted"):
        ContainerOptions(image=" ")


# The SDK leaves the socket that did not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_host_that_does_not_answer(job, script):
    docker = pytest.importorskip("docker")
    client = docker.APIClient(version="1.41", base_url=f"unix://{Path(script()).parent}/none.sock")
    with pytest.raises(TransientAdapterError, match="the Docker engine does not answer"):
        DockerEngineRunner(client, ContainerOptions(image="x")).start(job, request_for(), script(), {})
    client.close()
    gc.collect()
