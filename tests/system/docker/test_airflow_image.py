"""Airflow's image: what a scheduler, a worker, an API server or a triggerer of this project runs.

Built with few extras unless ``MLOPS_TEST_AIRFLOW_IMAGE=1`` asks for all; see the fixture ``airflow_image``.
"""

from __future__ import annotations

import json

import pytest

from airflow_mlops import __version__
from tests.system.docker.conftest import COMPLETE_AIRFLOW

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

LOOK = """
import importlib, importlib.util, json, os, shutil, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import airflow_mlops.operators as operators
from airflow.providers_manager import ProvidersManager
missing = {}
for name in operators.__all__:
    try:
        getattr(operators, name)
    except ImportError as error:
        missing[name] = error.name
print(json.dumps({
    "missing": missing, "uid": os.getuid(), "gid": os.getgid(), "home": os.environ["AIRFLOW_HOME"],
    "pip": importlib.util.find_spec("pip") is not None,
    "writable": [path for path in ("/", "/opt/mlops", "/opt/package") if os.access(path, os.W_OK)],
    "tools": [name for name in ("gcc", "cc", "make", "git") if shutil.which(name)],
    "provider": ProvidersManager().providers["airflow-mlops"].version,
}))
"""


@pytest.fixture
def run(engine, airflow_image):
    """Run a command in the image, as its own user and with a file system that it cannot write to."""

    def command(*arguments, entrypoint=None):
        options = engine.create_host_config(
            read_only=True,
            tmpfs={"/tmp": ""},
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
        )
        made = engine.create_container(
            airflow_image, list(arguments) or None, entrypoint=entrypoint, host_config=options
        )["Id"]
        try:
            engine.start(made)
            code = engine.wait(made)["StatusCode"]
            printed = engine.logs(made, stderr=False).decode()
            assert code == 0, printed + engine.logs(made, stdout=False).decode()
        finally:
            engine.remove_container(made, force=True)
        return printed

    return command


def test_it_says_its_version(run, engine, airflow_image):
    from importlib.metadata import version

    assert run().strip().splitlines()[-1] == version("apache-airflow"), "the pinned one, which is this environment's"
    labels = engine.inspect_image(airflow_image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "airflow-mlops airflow"
    assert labels["org.opencontainers.image.revision"]


def test_airflow_knows_the_provider(run):
    rows = json.loads(run("providers", "list", "--output", "json").partition("[")[2].join(("[", "")))
    assert [row["version"] for row in rows if row["package_name"] == "airflow-mlops"] == [__version__]


def test_operators_load_in_an_image_that_gives_away_little(run):
    seen = json.loads(run("-c", LOOK, entrypoint=["python"]).splitlines()[-1])
    missing = seen.pop("missing")
    assert set(missing.values()) <= (set() if COMPLETE_AIRFLOW else {"airflow.providers.cncf", "kubernetes"}), missing
    assert "TrainInDockerOperator" not in missing
    assert seen == {
        "uid": 50000,
        "gid": 0,
        "home": "/tmp/airflow",
        "pip": False,
        "writable": [],
        "tools": [],
        "provider": __version__,
    }
