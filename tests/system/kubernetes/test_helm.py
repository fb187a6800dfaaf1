"""The chart in a real cluster: installed, upgraded, rolled back, uninstalled, and what its accounts may do.

The model server here is a stand-in with the real one's command line, digest check and prediction log, but without a
model library: what is tested is the chart. The real server's image has its own tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.codec import decode
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators.warm_pod import WarmPod
from airflow_mlops.references import ModelRef
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.testing.rollout import ManualClock
from airflow_mlops.triggers.training_jobs import TrainingJobTrigger
from tests.helm.engine import Helm, RefusedError
from tests.system.kubernetes.conftest import TESTBED

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    # The pod operator leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

RELEASE = "mlops"
USER = 10001
NOBODY = ["get secrets", "list secrets", "create serviceaccounts/token", "create roles.rbac.authorization.k8s.io"]
STANDIN = """
import json, os, signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from airflow_mlops.container.prediction_log import open_log
from airflow_mlops.container.server import _parser
from airflow_mlops.manifest import verify

options = _parser().parse_args()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
verify(options.model_dir, options.digest)
log = open_log(options.prediction_log, model_name=options.model_name, version=options.version)

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({
            "path": self.path,
            "version": options.version,
            "user": os.getuid(),
            "root_writable": os.access("/", os.W_OK),
            "store_writable": os.access(options.model_dir, os.W_OK),
            "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        }).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

ThreadingHTTPServer((options.host, options.port), Answer).serve_forever()
"""


CONFINED = """
    import json, os
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["runs"], "a") as runs:
            runs.write(job.output.name + "\\n")
        seen = {
            "user": os.getuid(),
            "root_writable": os.access("/", os.W_OK),
            "scratch_writable": os.access("/tmp", os.W_OK),
        }
        if job.rank == 0:
            (job.output / "model").mkdir()
            (job.output / "model" / "MLmodel").write_text(json.dumps(seen))
            job.finish(metrics={"auc": 0.7}, artifacts={"model": "model"})
"""


@dataclass(frozen=True)
class Site:
    """A namespace with room for releases, and a folder of this machine behind its claims."""

    helm: Helm
    api: Any
    namespace: str
    folder: Path
    storage: dict[str, Any]

    def values(self, **changes: Any) -> dict[str, Any]:
        return {
            "fullnameOverride": RELEASE,
            "artifacts": {"mountPath": str(self.folder), "claim": {**self.storage, "size": "1Mi", "keep": False}},
            "airflow": {"workers": [{"name": "worker"}], "triggerers": [{"name": "triggerer"}]},
            **changes,
        }

    def names(self) -> set[str]:
        """Every object of the namespace that lasts, of whatever kind."""
        from kubernetes.client import ApisApi, CustomObjectsApi

        others, found = CustomObjectsApi(self.api.api_client), set()
        for resource in self.api.get_api_resources().resources:
            if _is_listed(resource):
                kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", resource.kind).lower()
                listed = getattr(self.api, f"list_namespaced_{kind}")(self.namespace).items
                found |= {f"{resource.name}/{item.metadata.name}" for item in listed}
        for group in ApisApi(self.api.api_client).get_api_versions().groups:
            where = (group.name, group.preferred_version.version)
            for resource in others.get_api_resources(*where).resources:
                if _is_listed(resource):
                    listed = others.list_namespaced_custom_object(*where, self.namespace, resource.name)["items"]
                    found |= {f"{resource.name}/{item['metadata']['name']}" for item in listed}
        # Every namespace gets these, sooner or later.
        return {name for name in found if "/kube-root-ca" not in name and "/default-token-" not in name}

    def ask(self, server: str, path: str = "/") -> dict[str, Any]:
        """Ask a model server through the API server, which needs no network from here into the cluster."""
        answer = self.api.connect_get_namespaced_service_proxy_with_path(
            f"{RELEASE}-{server}:http", self.namespace, path.removeprefix("/"), _preload_content=False
        )
        return json.loads(answer.data)

    def server_pods(self) -> dict[str, str]:
        pods = self.api.list_namespaced_pod(self.namespace, label_selector="app.kubernetes.io/component=server").items
        return {
            pod.metadata.name: pod.metadata.labels["airflow-mlops/server"]
            for pod in pods
            if pod.metadata.deletion_timestamp is None
        }


def _is_listed(resource: Any) -> bool:
    return resource.namespaced and "list" in resource.verbs and resource.name != "events"


@pytest.fixture(scope="module")
def make_site(kubeconfig: str, api: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Site]]:
    """Sites whose claims are bound to folders under this session's temporary one."""
    pytest.importorskip("helm_python", reason="there is no Helm engine for this platform")
    volumes, engines = [], []

    def make(namespace: str) -> Site:
        name = f"{namespace}-{uuid.uuid4().hex[:6]}"
        folder = tmp_path_factory.getbasetemp()
        # Pods have another user than whoever runs the tests.
        for parent in [folder, *list(folder.parents)[:2]]:
            parent.chmod(0o755)
        api.create_persistent_volume(
            {
                "metadata": {"name": name},
                "spec": {
                    "storageClassName": name,
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteMany"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": str(folder), "type": "Directory"},
                },
            }
        )
        volumes.append(name)
        engines.append(Helm(kubeconfig, namespace))
        return Site(engines[-1], api, namespace, folder, {"storageClassName": name, "volumeName": name})

    yield make
    for engine in engines:
        engine.close()
    for volume in volumes:
        api.delete_persistent_volume(volume)


@pytest.fixture(scope="module")
def site(make_site: Callable[[str], Site], namespace: str) -> Iterator[Site]:
    """A release without model servers, with Airflow's two accounts."""
    site = make_site(namespace)
    for name in ("worker", "triggerer"):
        site.api.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
    for name in ("flights-data", "other"):
        site.api.create_namespaced_secret(namespace, {"metadata": {"name": name}, "stringData": {"key": name}})
    site.helm.install(RELEASE, site.values(trainer={"readableSecrets": ["flights-data"]}))
    yield site
    site.helm.uninstall(RELEASE)


@pytest.fixture
def account(site: Site) -> Iterator[Callable[[str], Any]]:
    """Clients that have nothing but a service account's token."""
    from kubernetes.config import new_client_from_config_dict

    clients = []

    def client(name: str) -> Any:
        clients.append(new_client_from_config_dict(account_config(site, name)))
        return clients[-1]

    yield client
    for one in clients:
        one.close()


def account_config(site: Site, account: str) -> dict[str, Any]:
    """Return a kubeconfig for a service account."""
    request = {"spec": {"expirationSeconds": 600, "audiences": None}}
    token = site.api.create_namespaced_service_account_token(account, site.namespace, request).status.token
    admin = site.api.api_client.configuration
    cluster = {"server": admin.host, "certificate-authority": admin.ssl_ca_cert}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": account}}],
        "current-context": "c",
    }


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> bool:
    """Tell whether the API server knows who asks and says no."""
    from kubernetes.client.exceptions import ApiException

    try:
        call(*arguments, **options)
    except ApiException as error:
        return error.status == 403 and "system:serviceaccount:" in error.body
    return False


def a_pod() -> dict[str, Any]:
    return {
        "metadata": {"name": "probe"},
        "spec": {"containers": [{"name": "base", "image": "none"}], "restartPolicy": "Never"},
    }


def test_the_trainer_reads_the_secret_that_is_named_and_nothing_else(site: Site, account: Callable[[str], Any]) -> None:
    from kubernetes.client import CoreV1Api

    trainer = CoreV1Api(account(f"{RELEASE}-trainer"))
    assert trainer.read_namespaced_secret("flights-data", site.namespace).data
    assert refused(trainer.read_namespaced_secret, "other", site.namespace)
    assert refused(trainer.list_namespaced_secret, site.namespace)
    assert refused(trainer.create_namespaced_pod, site.namespace, a_pod(), dry_run="All")
    assert refused(trainer.list_namespaced_pod, site.namespace)
    assert refused(trainer.read_namespaced_config_map, f"{RELEASE}-pod-templates", site.namespace)


def test_the_worker_makes_pods_and_reads_no_secret(site: Site, account: Callable[[str], Any]) -> None:
    from kubernetes.client import BatchV1Api, CoreV1Api, RbacAuthorizationV1Api

    client = account("worker")
    worker = CoreV1Api(client)
    assert worker.create_namespaced_pod(site.namespace, a_pod(), dry_run="All")
    job = {"metadata": {"name": "probe"}, "spec": {"template": {"spec": a_pod()["spec"]}}}
    assert BatchV1Api(client).create_namespaced_job(site.namespace, job, dry_run="All")
    service = {"metadata": {"name": "probe"}, "spec": {"clusterIP": "None"}}
    assert worker.create_namespaced_service(site.namespace, service, dry_run="All")
    worker.list_namespaced_event(site.namespace)
    for name in ("flights-data", "other"):
        assert refused(worker.read_namespaced_secret, name, site.namespace)
    assert refused(worker.list_namespaced_secret, site.namespace)
    assert refused(worker.create_namespaced_service_account, site.namespace, {"metadata": {"name": "x"}}, dry_run="All")
    assert refused(RbacAuthorizationV1Api(client).list_namespaced_role, site.namespace)
    assert refused(worker.list_namespaced_pod, "kube-system")


def test_the_triggerer_watches_and_deletes_and_makes_nothing(site: Site, account: Callable[[str], Any]) -> None:
    from kubernetes.client import CoreV1Api

    triggerer = CoreV1Api(account("triggerer"))
    triggerer.list_namespaced_pod(site.namespace)
    triggerer.list_namespaced_event(site.namespace)
    assert refused(triggerer.create_namespaced_pod, site.namespace, a_pod(), dry_run="All")
    assert refused(triggerer.list_namespaced_secret, site.namespace)


@pytest.mark.parametrize(
    ("name", "allowed", "denied"),
    [
        (
            "worker",
            ["create pods", "create pods/exec", "get pods/log", "patch pods", "delete jobs.batch"],
            [*NOBODY, "update deployments.apps", "create trainjobs.trainer.kubeflow.org"],
        ),
        (
            "triggerer",
            ["get pods", "delete pods", "get pods/log", "get jobs.batch"],
            [*NOBODY, "create pods", "create pods/exec"],
        ),
        (f"{RELEASE}-trainer", [], [*NOBODY, "get pods", "create pods", "get configmaps", "create pods/exec"]),
        (f"{RELEASE}-server", [], [*NOBODY, "get pods", "create pods", "get configmaps", "get services"]),
    ],
    ids=["worker", "triggerer", "trainer", "server"],
)
def test_the_cluster_says_the_same_when_it_is_asked(
    site: Site, name: str, allowed: list[str], denied: list[str]
) -> None:
    from kubernetes.client import AuthorizationV1Api

    reviews = AuthorizationV1Api(site.api.api_client)

    def may(what: str) -> bool:
        verb, resource = what.split()
        resource, _, group = resource.partition(".")
        resource, _, sub = resource.partition("/")
        attributes = {
            "namespace": site.namespace,
            "verb": verb,
            "resource": resource,
            "group": group,
            "subresource": sub,
        }
        user = f"system:serviceaccount:{site.namespace}:{name}"
        review = {"spec": {"user": user, "resourceAttributes": attributes}}
        return bool(reviews.create_subject_access_review(review).status.allowed)

    assert [what for what in allowed if not may(what)] == []
    assert [what for what in denied if may(what)] == []


@pytest.fixture
def as_worker(site: Site, tmp_path: Path) -> dict[str, Any]:
    """Arguments of a task as the notes say: the worker's rights, the chart's template, which mounts the store."""
    config, template = tmp_path / "worker.kubeconfig", tmp_path / "trainer.yaml"
    config.write_text(yaml.safe_dump(account_config(site, "worker")))
    found = site.api.read_namespaced_config_map(f"{RELEASE}-pod-templates", site.namespace)
    template.write_text(found.data["trainer.yaml"])
    return {"config_file": str(config), "pod_template_file": str(template), "artifacts": None}


@pytest.fixture
def as_triggerer(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give triggers, which get the worker's file by the test's operators, the rights of the triggerer's account."""
    from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger

    config, seen = account_config(site, "triggerer"), []

    def wrap(cls: Any, use: Callable[[Any], None]) -> None:
        original = cls.run

        async def run(trigger: Any) -> Any:
            use(trigger)
            async for event in original(trigger):
                # Without rights there is an event, too, and the task then looks for itself.
                seen.append(event.payload.get("status") or event.payload["kind"])
                yield event

        monkeypatch.setattr(cls, "run", run)

    wrap(KubernetesPodTrigger, lambda trigger: setattr(trigger, "config_dict", config))
    wrap(TrainingJobTrigger, lambda trigger: trigger.cluster.update(config_dict=config))
    return seen


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
def test_a_training_runs_with_the_template_and_the_rights_of_the_worker(
    site: Site, train, arguments, runs, as_worker: dict[str, Any], as_triggerer: list[str], deferrable: bool
) -> None:
    run, messages = train(arguments(CONFINED, **as_worker, deferrable=deferrable, on_finish_action="keep_pod"))
    assert run.states == {"train": "success"}, messages
    assert as_triggerer == (["success"] if deferrable else [])
    model = ArtifactStore.from_config().localize(decode(ModelRef, run.xcom("train")["model"]))
    assert json.loads((model / "MLmodel").read_text()) == {
        "user": USER,
        "root_writable": False,
        "scratch_writable": True,
    }
    assert len(runs()) == 1
    (ran,) = site.api.list_namespaced_pod(site.namespace).items
    assert ran.spec.service_account_name == f"{RELEASE}-trainer"
    # The policies name the pod: by the task's label, and by the template's.
    assert "airflow-mlops/job" in ran.metadata.labels
    assert ran.metadata.labels["app.kubernetes.io/component"] == "trainer"


def test_a_training_in_two_pods_needs_no_more_rights(
    train, arguments, runs, as_worker: dict[str, Any], as_triggerer: list[str]
) -> None:
    run, messages = train(arguments(CONFINED, **as_worker, parallelism=2, deferrable=True))
    assert run.states == {"train": "success"}, messages
    assert as_triggerer == ["ended"]
    assert len(runs()) == 2


def test_steps_in_a_warm_pod_need_no_more_rights(site: Site, run_dag, arguments, as_worker: dict[str, Any]) -> None:
    from airflow.sdk import DAG

    given = arguments(CONFINED)
    kept = ("image", "image_pull_policy", "namespace", "pod_resources", "termination_grace_period")
    with (
        DAG(f"warm_{uuid.uuid4().hex[:8]}", schedule=None) as dag,
        WarmPod("warm", **{name: given[name] for name in kept}, **as_worker) as pod,
    ):
        pod.step("step", entrypoint=given["entrypoint"], parameters=given["parameters"])
    run = run_dag(dag)
    assert set(run.states.values()) == {"success"}, run.states


@pytest.fixture
def own_site(make_site: Callable[[str], Site], api: Any) -> Iterator[Site]:
    """A namespace in which nothing else happens."""
    name = f"mlops-test-{uuid.uuid4().hex[:8]}"
    api.create_namespace({"metadata": {"name": name}})
    wait(lambda: api.list_namespaced_service_account(name).items)
    yield make_site(name)
    api.delete_namespace(name)


def wait(condition: Callable[[], Any], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def owned(folder: Path) -> Path:
    """Give a folder to the pods' user."""
    if os.getuid() == 0:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, USER, USER)
    else:
        pytest.skip("the pods' user must own folders of this machine, which takes root")
    return folder


def test_a_release_lives_and_leaves_nothing(own_site: Site, image: str, tmp_path: Path) -> None:
    site = own_site
    tmp_path.chmod(0o755)
    model, predictions = tmp_path / "model", tmp_path / "predictions"
    for folder in (model, predictions):
        folder.mkdir()
    (model / "MLmodel").write_text("flavors: {}")
    owned(predictions)
    (tmp_path / "standin.py").write_text(STANDIN)
    digest = manifest_of(model).digest

    def values(*versions: str, digest: str = digest) -> dict[str, Any]:
        repository, _, tag = image.rpartition(":")
        requests = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}
        return site.values(
            server={
                "image": {"repository": repository, "tag": tag},
                "command": ["python", str(tmp_path / "standin.py")],
                "resources": requests,
                "drainSeconds": 0,
                "predictionLog": {"subPath": str(predictions.relative_to(site.folder))},
                "podDisruptionBudget": {"enabled": True},
            },
            modelServers=[
                {
                    "name": f"flights-v{version}",
                    "modelName": "flights",
                    "version": version,
                    "modelDir": str(model),
                    "digest": digest,
                }
                for version in versions
            ],
        )

    before = site.names()
    installed = site.helm.install(RELEASE, values("3"), wait="watcher", timeout=120)
    assert installed["status"] == "deployed"
    assert site.ask("flights-v3", "/v2/health/ready") == {
        "path": "/v2/health/ready",
        "version": "3",
        "user": USER,
        "root_writable": False,
        "store_writable": False,
        "token": False,
    }
    assert len(list(predictions.rglob("*.jsonl"))) == 1
    made = site.names() - before
    assert {f"networkpolicies/{RELEASE}-trainer", f"networkpolicies/{RELEASE}-server"} <= made
    assert f"poddisruptionbudgets/{RELEASE}-flights-v3" in made
    first = site.server_pods()

    site.helm.upgrade(RELEASE, values("3", "4"), wait="watcher", timeout=120)
    assert site.ask("flights-v4")["version"] == "4"
    # Another version beside it is no reason to restart the first.
    assert first.items() < site.server_pods().items()

    # A model that is not what the values say never takes the place of one that serves.
    with pytest.raises(RefusedError):
        site.helm.upgrade(RELEASE, values("3", digest="sha256:" + "0" * 64), wait="watcher", timeout=6)
    assert site.ask("flights-v3")["version"] == "3"
    assert first.items() <= site.server_pods().items()

    site.helm.rollback(RELEASE, version=1, wait="watcher", timeout=120)
    assert wait(lambda: site.server_pods() == first), site.server_pods()
    assert [revision["status"] for revision in site.helm.history(RELEASE)] == [
        *("superseded", "superseded", "failed", "deployed"),
    ]

    site.helm.uninstall(RELEASE, wait="watcher", timeout=120)
    assert wait(lambda: site.names() == before), site.names() ^ before
    assert (model / "MLmodel").is_file()


def test_the_watchdog_gives_traffic_back(own_site: Site, image: str, tmp_path: Path) -> None:
    from kubernetes.client import BatchV1Api

    router, store = EnvoyFilesRouter(tmp_path), FileRolloutStore(tmp_path, clock=ManualClock(time=1000.0))
    router.render_missing()
    token = store.acquire("m", "dag/run/task/-1", lease_seconds=60).token
    router.ensure_targets("m", {"m-v1": 8201, "m-v2": 8202}, fencing_token=token)
    spec = RolloutSpec(steps=(CanaryStep(weight_percent=10),))
    state = begin(spec=spec, model_name="m", candidate="m-v2", stable="m-v1", now=1000.0)
    store.save("m", state, token=token, renew=True)
    router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=token, expected_generation=None)
    # The test image holds this package and nothing else.
    shutil.copytree(Path(yaml.__file__).parent, tmp_path / "lib" / "yaml")
    owned(tmp_path)

    repository, _, tag = image.rpartition(":")
    gateway = {
        "claim": f"{RELEASE}-artifacts",
        "subPath": str(tmp_path.relative_to(own_site.folder)),
        "directory": str(tmp_path),
    }
    watchdog = {
        "enabled": True,
        "image": {"repository": repository, "tag": tag},
        "gateway": gateway,
        "env": [{"name": "PYTHONPATH", "value": str(tmp_path / "lib")}],
        "schedule": "0 0 1 1 *",
    }
    installed = own_site.helm.install(RELEASE, own_site.values(watchdog=watchdog))
    documents = [document for document in yaml.safe_load_all(installed["manifest"]) if document]
    (job,) = (document["spec"]["jobTemplate"] for document in documents if document["kind"] == "CronJob")
    jobs = BatchV1Api(own_site.api.api_client)
    jobs.create_namespaced_job(own_site.namespace, {**job, "metadata": {"name": "look"}})

    def ended() -> bool:
        status = jobs.read_namespaced_job_status("look", own_site.namespace).status
        return bool(status.succeeded or status.failed)

    assert wait(ended)
    (looked,) = own_site.api.list_namespaced_pod(own_site.namespace, label_selector="job-name=look").items
    said = own_site.api.read_namespaced_pod_log(looked.metadata.name, own_site.namespace)
    assert "all traffic of m went back to m-v1" in said
    assert dict(router.observe("m").weights) == {"m-v1": 100}
    own_site.helm.uninstall(RELEASE)


@pytest.fixture
def monitor_definitions(api: Any) -> Iterator[Callable[[], None]]:
    """Install the Prometheus operator's definitions; removed afterwards unless they were there before."""
    from kubernetes.client import ApiextensionsV1Api

    extensions = ApiextensionsV1Api(api.api_client)
    here = {one.metadata.name for one in extensions.list_custom_resource_definition().items}
    made = []

    def install() -> None:
        for name in ("servicemonitors", "podmonitors"):
            file = TESTBED.parent.parent / "crds" / f"prometheus-operator-{name}.yaml"
            full = f"{name}.monitoring.coreos.com"
            if full in here:
                continue
            if not file.is_file():
                pytest.skip(f"no definition of {full} to install")
            extensions.create_custom_resource_definition(yaml.safe_load(file.read_text()))
            made.append(full)

            def established(full: str = full) -> bool:
                conditions = extensions.read_custom_resource_definition(full).status.conditions or []
                return any(one.type == "Established" and one.status == "True" for one in conditions)

            assert wait(established)

    yield install
    for full in made:
        extensions.delete_custom_resource_definition(full)


def test_monitors_are_made_where_they_are_known_and_refused_elsewhere(
    own_site: Site, api: Any, monitor_definitions: Callable[[], None]
) -> None:
    from kubernetes.client import ApisApi

    values = [own_site.values(monitoring={"enabled": True, "kind": kind}) for kind in ("ServiceMonitor", "PodMonitor")]
    groups = {group.name for group in ApisApi(api.api_client).get_api_versions().groups}
    if "monitoring.coreos.com" not in groups:
        with pytest.raises(RefusedError, match=r"this cluster has no monitoring\.coreos\.com/v1/ServiceMonitor"):
            own_site.helm.install(RELEASE, values[0])
    monitor_definitions()
    own_site.helm.install(RELEASE, values[0])
    assert f"servicemonitors/{RELEASE}-server" in own_site.names()
    own_site.helm.upgrade(RELEASE, values[1])
    names = own_site.names()
    assert f"podmonitors/{RELEASE}-server" in names
    assert f"servicemonitors/{RELEASE}-server" not in names
    own_site.helm.uninstall(RELEASE)
