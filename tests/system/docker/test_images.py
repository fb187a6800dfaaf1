"""Images from a real engine, pushed to a real registry."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import pytest
from airflow.sdk import DAG

from airflow_mlops.codec import decode
from airflow_mlops.operators import BuildImageOperator
from airflow_mlops.references import ImageRef

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

PASSWORD = "correct-horse-battery"
USERS = "robot:$2b$04$fIRlKT4TL8p5MHuF30s7FOSRPG7NtLrvBjjjKskNifFzqXbbGYqmm"  # its bcrypt hash


@pytest.fixture
def folder(tmp_path, base_image, tag):
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"ARG BASE={base_image}\nFROM $BASE\nLABEL airflow-mlops.test={tag}\nARG GREETING=hello\nCOPY . /files\n"
        'RUN echo "$GREETING from the build" && ls /files\nCMD ["cat", "/files/text"]\n'
    )
    (context / "text").write_text("one")
    (context / ".dockerignore").write_text("# not for images\n*.secret\n")
    (context / "key.secret").write_text("secret")
    return context


@pytest.fixture
def tag(engine):
    name = f"mlops-test-{uuid.uuid4().hex[:8]}"
    yield f"{name}:1"
    for image in engine.images(filters={"label": f"airflow-mlops.test={name}:1"}, quiet=True):
        engine.remove_image(image, force=True)


@pytest.fixture
def build(run_dag, folder, tag, capsys, caplog):
    """Run one task; return what it returned, and its log."""
    numbers = iter(range(100))

    def run(**changes):
        with DAG(f"image_{folder.parent.name}_{next(numbers)}", schedule=None) as dag:
            BuildImageOperator(task_id="build", **{"folder": str(folder), "tag": tag, **changes})
        caplog.clear()
        found = run_dag(dag)
        return found.xcom("build"), caplog.text + capsys.readouterr().out

    return run


def test_image_is_built_once_for_one_content(engine, build, folder, tag):
    first, text = build(labels={"org.opencontainers.image.revision": "r1"})
    image = decode(ImageRef, first["image"])
    assert (image.uri, image.digest, first["built"]) == (tag, engine.inspect_image(tag)["Id"], True)
    assert first["reference"] == image.digest
    assert image.size_bytes > 10**6
    for line in ("Step 1/", "hello from the build", "Successfully tagged"):
        assert line in text
    assert "key.secret" not in text
    labels = engine.inspect_image(tag)["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == "r1"

    (folder / "key.secret").write_text("another secret")
    os.utime(folder / "text", (0, 0))
    second, text = build(labels={"org.opencontainers.image.revision": "r2"})
    assert (second["built"], second["image"]) == (False, first["image"])
    assert "was made of the same context" in text

    (folder / "text").write_text("two")
    third, _ = build()
    assert third["built"]
    assert third["image"]["digest"] != image.digest
    assert build(build_args={"GREETING": "good day"})[0]["built"]
    # No newer base image is fetched for this one: there may be no registry to ask.
    (folder / "Dockerfile").write_text(f"FROM scratch\nLABEL airflow-mlops.test={tag}\nCOPY . /files\n")
    assert [build()[0]["built"], build()[0]["built"], build(rebuild=True)[0]["built"]] == [True, False, True]


def test_failing_step_is_shown(build, folder):
    with (folder / "Dockerfile").open("a") as file:
        file.write("RUN echo about to fail && exit 7\n")
    returned, text = build()
    assert returned is None
    assert "returned a non-zero code: 7; last lines:" in text
    assert "about to fail" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dockerfile": "../Dockerfile"}, "dockerfile: '../Dockerfile' is not accepted; expected a file below"),
        ({"dockerfile": "Nofile"}, "dockerfile: 'Nofile' is not accepted; expected a file below"),
        ({"folder": "/nowhere"}, "context: '/nowhere' is not accepted; expected a folder that exists"),
        ({"build_args": {"N": 1}}, "build_args.N: 1 is not accepted; expected text"),
        ({"tag": "Not A Tag"}, "looking for image Not A Tag: "),
    ],
)
def test_wrong_arguments_are_named(build, changes, message):
    returned, text = build(**changes)
    assert returned is None
    assert message in text


@pytest.fixture
def registry(tmp_path, free_port):
    """Address of a registry that wants a password."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no registry: install Debian's package docker-registry")
    users, config = tmp_path / "users", tmp_path / "registry.yml"
    users.write_text(f"{USERS}\n")
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{free_port}'}}\nauth: {{htpasswd: {{realm: r, path: {users}}}}}\n"
    )
    process = subprocess.Popen([program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{free_port}/v2/", timeout=2)
        except urllib.error.HTTPError as error:
            error.close()
            break  # 401: it is there
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    yield f"127.0.0.1:{free_port}"
    process.terminate()
    process.wait(10)


def test_image_is_pushed_with_the_connections_credentials(engine, build, folder, tag, registry, connection):
    (folder / "Dockerfile").write_text(f"FROM scratch\nLABEL airflow-mlops.test={tag}\nCOPY . /files\n")
    name = f"{registry}/{tag}"
    connection("registry", conn_type="docker", host=registry, login="robot", password=PASSWORD)
    returned, text = build(tag=name, push=True, docker_conn_id="registry")
    assert returned is not None, text
    digest = returned["image"]["digest"]
    assert returned["reference"] == f"{name.rpartition(':')[0]}@{digest}"
    assert PASSWORD not in text
    assert digest in str(engine.inspect_image(name)["RepoDigests"])
    stored = next(iter(folder.parent.glob(f"registry/**/blobs/sha256/*/{digest.removeprefix('sha256:')}/data")))
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == digest.removeprefix("sha256:")
    again, _ = build(tag=name, push=True, docker_conn_id="registry")
    assert (again["built"], again["image"]) == (False, returned["image"])


def test_registry_that_refuses(build, folder, tag, registry, connection):
    (folder / "Dockerfile").write_text(f"FROM scratch\nLABEL airflow-mlops.test={tag}\nCOPY . /files\n")
    returned, text = build(tag=f"{registry}/{tag}", push=True)
    assert returned is None
    assert f"pushing {registry}/{tag}: " in text
    connection("registry", conn_type="docker", host=registry, login="robot", password="wrong-password")
    returned, text = build(tag=f"{registry}/{tag}", push=True, docker_conn_id="registry")
    assert returned is None
    assert "connection 'registry': " in text
    assert "wrong-password" not in text
