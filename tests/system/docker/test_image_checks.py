"""An image's own tests, and what is in it: through Airflow, in containers of a real engine."""

from __future__ import annotations

import io
import json
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from airflow_mlops.adapters.images.bill import check_bill
from airflow_mlops.adapters.images.commands import COMMAND_LABEL
from airflow_mlops.operators import CheckImageOperator, WriteImageBillOperator

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SELFCHECK = ["python", "-m", "airflow_mlops.container.selfcheck", "trainer"]
PINNED = dict(
    line.split("==")
    for line in (Path(__file__).parents[3] / "docker" / "trainer" / "requirements.txt").read_text().splitlines()
    if "==" in line
)


@pytest.fixture(scope="session")
def trainer(engine, trainer_image):
    """The trainer's image, by digest."""
    return engine.inspect_image(trainer_image)["Id"]


@pytest.fixture
def containers(engine):
    """Return the containers of an image's commands."""

    def find(image):
        return engine.containers(all=True, filters={"label": COMMAND_LABEL, "ancestor": image})

    return find


@pytest.fixture
def task(run_dag, artifact_root, capsys, caplog):
    """Run one task; return what it returned, and its log."""

    def run(operator, **arguments):
        with DAG(f"image_{uuid.uuid4().hex[:8]}", schedule=None) as dag:
            operator(task_id="task", **arguments)
        caplog.clear()
        found = run_dag(dag)
        return found.xcom("task"), caplog.text + capsys.readouterr().out

    return run


@pytest.fixture
def derived(engine, trainer):
    """Make an image of the trainer's and a few more lines."""
    made = []

    def make(*lines):
        text = "\n".join((f"FROM {trainer}", f"LABEL airflow-mlops.test={uuid.uuid4().hex}", *lines))
        stream = engine.build(fileobj=io.BytesIO(text.encode()), rm=True, forcerm=True, decode=True)
        said = list(stream)
        made.extend(line["aux"]["ID"] for line in said if "aux" in line)
        assert made, said
        return made[-1]

    yield make
    for image in made:
        engine.remove_image(image, force=True)


def test_the_trainer_passes_its_own_tests(task, trainer, containers):
    returned, text = task(CheckImageOperator, image=trainer, command=SELFCHECK)
    assert returned == {"image": trainer, "summary": "6 checks, 0 failed"}, text
    assert f"versions: {len(PINNED)} distributions as pinned, and no others" in text
    assert "a job's verified result came back, changed data stopped another" in text
    assert containers(trainer) == []


def test_the_server_passes_its_own_tests(task, engine, server_image):
    command = [*SELFCHECK[:-1], "server"]
    returned, text = task(CheckImageOperator, image=engine.inspect_image(server_image)["Id"], command=command)
    assert returned is not None, text
    assert returned["summary"] == "6 checks, 0 failed"


def test_a_worse_image_is_told_what_is_wrong(task, derived, containers):
    image = derived(
        "USER 0:0",
        'RUN python -c "import shutil, yaml; shutil.rmtree(yaml.__path__[0])"'
        " && rm -r /opt/mlops/lib/python*/site-packages/joblib-*.dist-info"
        " && mv /opt/mlops/lib/python3.11/site-packages/six-1.17.0.dist-info /opt/six-0.dist-info"
        " && sed -i s/1.17.0/1.16.0/ /opt/six-0.dist-info/METADATA"
        " && mv /opt/six-0.dist-info /opt/mlops/lib/python3.11/site-packages/six-1.16.0.dist-info",
    )
    returned, text = task(CheckImageOperator, image=image, command=SELFCHECK, read_only=False)
    assert returned is None
    for line in (
        f"joblib=={PINNED['joblib']} is not installed; six is 1.16.0, pinned is 1.17.0",
        "yaml: ModuleNotFoundError: No module named 'yaml'",
        "user: this image runs as root; its Dockerfile must name a USER",
        "file system: who runs this image can write to /, /opt/mlops, /opt/package/airflow_mlops",
        f"in image {image} ended with exit code 1; last lines:",
        "6 checks, 4 failed: versions, imports, user, file system",
    ):
        assert line in text
    assert containers(image) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"command": ["sh", "-c", "echo about to fail; exit 3"]}, r"ended with exit code 3; last lines:"),
        ({"command": ["sh", "-c", "echo patience; sleep 60"], "timeout_seconds": 2}, "took longer than timeout_sec"),
        ({"command": ["sh", "-c", "exit 137"]}, "was killed by signal 9 (SIGKILL); it printed nothing"),
        ({"command": ["nothing-like-this"]}, "starting 'nothing-like-this' in image sha256:"),
        ({"command": []}, "command: [] is not accepted; expected a list of texts: a program and its arguments"),
        ({"image": "mlops-trainer:1"}, "image: 'mlops-trainer:1' is not accepted; expected a reference that holds a"),
        ({"image": "sha256:" + "0" * 64}, "the engine does not have the image sha256:000000"),
        ({"image": "localhost:1/none@sha256:" + "0" * 64}, "is not there and cannot be fetched: "),
        ({"environment": {"A": 1}}, "environment.A: 1 is not accepted; expected text"),
    ],
)
def test_failures_are_named_and_leave_nothing(task, trainer, containers, arguments, message):
    image = arguments.get("image", trainer)
    returned, text = task(CheckImageOperator, **{"image": image, "command": ["true"], **arguments})
    assert returned is None
    assert message in text
    assert containers(trainer) == []


def test_the_command_may_do_little(task, trainer):
    text = (
        "import os, socket, pathlib; "
        "status = dict(line.split(':', 1) for line in open('/proc/self/status')); "
        "print(os.environ['GIVEN'], status['CapEff'].strip(), [name for _, name in socket.if_nameindex()])"
    )
    returned, _ = task(CheckImageOperator, image=trainer, command=["python", "-c", text], environment={"GIVEN": "yes"})
    assert returned["summary"] == "yes 0000000000000000 ['lo']"


@pytest.mark.parametrize("running", [False, True])
def test_what_a_killed_worker_left_is_removed_by_the_next_try(engine, trainer, containers, running):
    """A killed worker leaves its container behind, which goes on without it; both tries give it the same name."""
    ti = SimpleNamespace(dag_id=uuid.uuid4().hex, run_id="r", task_id="t", try_number=1, map_index=-1)
    operator = CheckImageOperator(task_id="t", image=trainer, command=["echo", "done"])
    _, name = operator.commands({"ti": ti})
    left = engine.create_container(trainer, entrypoint=["sleep"], command=["60"], name=name)["Id"]
    if running:
        engine.start(left)
    ti.try_number = 2
    assert operator.execute({"ti": ti})["summary"] == "done"
    assert not engine.containers(all=True, filters={"id": left})
    assert containers(trainer) == []


def test_a_kill_removes_the_container(task, trainer, containers):
    class Killed(CheckImageOperator):
        def execute(self, context):
            threading.Thread(target=self._kill_when_running, daemon=True).start()
            return super().execute(context)

        def _kill_when_running(self):
            _wait_until(lambda: [one for one in containers(trainer) if one["State"] == "running"])
            self.on_kill()

    returned, _ = task(Killed, image=trainer, command=["sleep", "60"])
    assert returned is None
    _wait_until(lambda: not containers(trainer))


def test_a_bill_is_written_once_for_an_image(task, trainer, artifact_root, containers):
    returned, text = task(WriteImageBillOperator, image=trainer)
    assert returned is not None, text
    bill = returned["bill"]
    assert (returned["written"], bill["format"]) == (True, "cyclonedx-1.6-json")
    file = Path(bill["uri"].removeprefix("file://"))
    assert file.is_relative_to(artifact_root / "images")
    content = file.read_text()
    check_bill(content, where="the bill")
    document = json.loads(content)
    assert document["metadata"]["component"]["version"] == trainer
    assert document["metadata"]["component"]["name"] == "airflow-mlops trainer"
    listed = {one["purl"]: one for one in document["components"] if "purl" in one}
    assert len(document["components"]) == bill["components"]
    for name, version in PINNED.items():
        assert f"pkg:pypi/{name.lower().replace('_', '-')}@{version}" in listed
    learn = listed[f"pkg:pypi/scikit-learn@{PINNED['scikit-learn']}"]
    assert learn["licenses"][0]["license"]["id"] == "BSD-3-Clause"
    assert learn["evidence"]["occurrences"][0]["location"].startswith("/opt/mlops/lib/")
    assert any(purl.startswith("pkg:deb/debian/dpkg@") for purl in listed)
    assert containers(trainer) == []

    written_at = file.stat().st_mtime_ns
    again, text = task(WriteImageBillOperator, image=trainer, docker_url="unix:///nowhere.sock")
    assert again == {**returned, "written": False}, "no engine is asked for what is there"
    assert file.stat().st_mtime_ns == written_at
    file.unlink()
    anew, _ = task(WriteImageBillOperator, image=trainer)
    assert anew == returned, "the same image gives the same bill"

    file.write_text(content.replace("BSD-3-Clause", "MIT"))
    changed, text = task(WriteImageBillOperator, image=trainer)
    assert changed is None
    assert "the content is not what its name promises; the bill was changed" in text


def test_an_image_without_python_has_no_bill(task, trainer, artifact_root):
    returned, text = task(WriteImageBillOperator, image=trainer, python="python2")
    assert returned is None
    assert "starting 'python2' in image sha256:" in text
    returned, text = task(WriteImageBillOperator, image=trainer, python="echo")
    assert returned is None
    assert "its inventory is not JSON" in text
    assert not list(artifact_root.rglob("*.cdx.json"))


def _wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
