"""The flights model, trained in the trainer's image and served from the server's."""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_mlops.codec import decode, encode
from airflow_mlops.container.inference import OUTPUT
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import TrainInDockerOperator
from airflow_mlops.references import DatasetRef, ModelRef

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

SCRIPT = Path(__file__).parents[3] / "dags" / "flights" / "train.py"
KINDS = {"carrier": "BYTES", "origin": "BYTES", "dest": "BYTES"}


@pytest.fixture
def flights(tmp_path):
    """A month that never was."""
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    draw, rows = np.random.default_rng(0), 3000
    hour = draw.integers(5, 24, rows)
    frame = pd.DataFrame(
        {
            "carrier": draw.choice(["UA", "B6", "EV", "DL"], rows),
            "origin": draw.choice(["EWR", "JFK", "LGA"], rows),
            "dest": draw.choice(["IAH", "MIA", "ORD", "BOS", "LAX"], rows),
            "distance": draw.integers(100, 2500, rows),
            "sched_hour": hour,
            "sched_minute": draw.integers(0, 60, rows),
            "day_of_week": draw.integers(0, 7, rows),
            "temp": draw.normal(50, 15, rows),
            "wind_speed": draw.gamma(2, 5, rows),
            "precip": draw.exponential(0.01, rows),
            "visib": np.where(draw.random(rows) < 0.05, np.nan, 10.0),
            "late": (draw.random(rows) < hour / 40).astype("int64"),
        }
    )
    file = tmp_path / "flights.parquet"
    frame.to_parquet(file)
    file.chmod(0o644)
    digest, size = manifest_of(file).digest, file.stat().st_size
    return encode(DatasetRef(uri=f"file://{file}", digest=digest, format="parquet", size_bytes=size, rows=rows))


@pytest.fixture
def serve(engine, server_image):
    """Start a server of a model and return its address and container once the engine calls it healthy."""
    started = []

    def start(model):
        path = model.uri.removeprefix("file://")
        command = [
            *("--name", "flights-v1", "--model-name", "flights", "--version", "1", "--model-dir", path),
            *("--digest", model.digest, "--prediction-log", "/tmp/predictions"),
        ]
        options = engine.create_host_config(
            binds=[f"{path}:{path}:ro"],
            read_only=True,
            tmpfs={"/tmp": ""},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            port_bindings={8080: ("127.0.0.1", None)},
        )
        name = f"mlops-server-{uuid.uuid4().hex[:8]}"
        container = engine.create_container(server_image, command, name=name, ports=[8080], host_config=options)["Id"]
        started.append(container)
        engine.start(container)
        deadline = time.monotonic() + 180
        while (state := engine.inspect_container(container)["State"])["Health"]["Status"] != "healthy":
            assert state["Running"], engine.logs(container).decode()
            assert time.monotonic() < deadline, state
            time.sleep(0.2)
        return f"http://127.0.0.1:{engine.port(container, 8080)[0]['HostPort']}", container

    yield start
    for container in started:
        engine.remove_container(container, force=True, v=True)


def test_a_model_goes_from_one_image_to_the_other(
    run_dag,
    artifact_root,
    engine,
    trainer_image,
    serve,
    flights,
):
    with DAG(f"flights_{uuid.uuid4().hex[:8]}", schedule=None) as dag:
        TrainInDockerOperator(
            task_id="train",
            entrypoint=str(SCRIPT),
            datasets={"train": [flights]},
            model_name="flights",
            parameters={"max_iter": 20},
            image=trainer_image,
            docker_resources={"cpus": 1.0, "memory": "1Gi"},
        )
    run = run_dag(dag)
    assert run.states == {"train": "success"}
    returned = run.xcom("train")
    assert returned["metrics"]["roc_auc"] > 0.6
    model = decode(ModelRef, returned["model"])
    smoke = json.loads((Path(model.uri.removeprefix("file://")) / "smoke.json").read_text())

    address, container = serve(model)
    names = list(smoke["features"][0])
    inputs = [
        {
            "name": name,
            "shape": [len(smoke["features"])],
            "datatype": KINDS.get(name, "FP64"),
            "data": [row[name] for row in smoke["features"]],
        }
        for name in names
    ]
    request = urllib.request.Request(
        f"{address}/v2/models/flights/infer",
        data=json.dumps({"id": "r", "inputs": inputs}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        (output,) = json.load(response)["outputs"]
    assert output["name"] == OUTPUT
    assert output["data"] == pytest.approx(smoke["predictions"], abs=1e-9)
    engine.stop(container, timeout=20)
    assert engine.inspect_container(container)["State"]["ExitCode"] == 0


@pytest.mark.parametrize("kind", ["trainer", "server"])
def test_what_an_image_is(engine, kind, request):
    image = request.getfixturevalue(f"{kind}_image")
    found = engine.inspect_image(image)
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["Labels"]["org.opencontainers.image.revision"]
    assert bool(found["Config"].get("Healthcheck")) is (kind == "server")
    text = (
        "import importlib.util as u, shutil, os; "
        "print([name for name in ('gcc', 'cc', 'make', 'git') if shutil.which(name)], "
        "u.find_spec('pip'), u.find_spec('airflow'), u.find_spec('airflow_mlops') is not None, os.getuid())"
    )
    options = engine.create_host_config(read_only=True, network_mode="none")
    container = engine.create_container(image, ["-c", text], entrypoint=["python"], host_config=options)["Id"]
    try:
        engine.start(container)
        engine.wait(container)
        assert engine.logs(container).decode() == "[] None None True 10001\n"
    finally:
        engine.remove_container(container, force=True)
