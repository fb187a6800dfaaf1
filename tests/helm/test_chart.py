"""The chart, linted and rendered: what holds for every document, whatever the values say."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from airflow_mlops import __version__
from airflow_mlops.container.server import _parser
from airflow_mlops.hooks.gateway_kinds import KINDS as GATEWAYS
from airflow_mlops.training.pods import JOB_LABEL
from tests.helm.engine import CHART, Helm, RefusedError
from tests.helm.values import DIGEST, everything, server

# The operators' module imports Airflow.
WARM_POD_LABEL = "airflow-mlops/warm-pod"
# What a namespace's admin may make. A cluster's administrator is not asked for anything.
KINDS = {
    "ConfigMap",
    "CronJob",
    "Deployment",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "Role",
    "RoleBinding",
    "Service",
    "ServiceAccount",
    "ServiceMonitor",
}
# All that Airflow may touch. Secrets, accounts, roles and workloads of others are not among it.
RESOURCES = {
    *("pods", "pods/log", "pods/exec", "events", "services", "jobs", "jobs/status"),
    *("trainjobs", "trainjobs/status", "rayjobs", "rayjobs/status"),
}


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def pod_specs(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] == "Deployment":
            yield name, document["spec"]["template"]["spec"]
        elif document["kind"] == "CronJob":
            yield name, document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif document["kind"] == "ConfigMap" and "trainer.yaml" in document["data"]:
            yield name, yaml.safe_load(document["data"]["trainer.yaml"])["spec"]


def check_confined(name: str, spec: dict[str, Any]) -> None:
    """Hold a pod to the Pod Security Standard "restricted", and to more."""
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"], name
    assert pod["runAsUser"] > 0, name
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert spec["automountServiceAccountToken"] is False or "trainer" in spec["serviceAccountName"], name
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
    assert all(not {"hostPath"} & set(volume) for volume in spec["volumes"]), name
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"], name
        assert security["runAsNonRoot"], name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["privileged"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
        assert "memory" in container["resources"]["limits"], name
        # Without it a read-only root leaves nowhere to write.
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}, name


@pytest.mark.parametrize("values", [None, everything()], ids=["defaults", "everything"])
def test_lint_finds_nothing(helm: Helm, values: dict[str, Any] | None) -> None:
    assert [finding["error"] for finding in helm.lint(values)] == ["icon is recommended"]


def test_the_chart_is_of_the_version_of_the_package() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_the_defaults_make_accounts_roles_storage_and_a_template_and_run_nothing(helm: Helm) -> None:
    documents = helm.documents()
    kinds = {document["kind"] for document in documents}
    assert kinds == {
        *("ServiceAccount", "Role", "RoleBinding", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy"),
    }
    (claim,) = of_kind(documents, "PersistentVolumeClaim").values()
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert set(of_kind(documents, "Role")) == {
        "demo-airflow-mlops-airflow-worker",
        "demo-airflow-mlops-airflow-triggerer",
    }


def test_everything_is_namespaced_and_labelled(helm: Helm) -> None:
    documents = helm.documents(everything())
    assert {document["kind"] for document in documents} == KINDS
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names)
    for document in documents:
        metadata = document["metadata"]
        assert metadata["namespace"] == "mlops", metadata
        assert metadata["labels"]["app.kubernetes.io/instance"] == "demo", metadata
        assert metadata["labels"]["team"] == "flights", metadata
        assert len(metadata["name"]) <= 63, metadata


def test_whatever_is_chosen_pods_are_confined_and_roles_are_narrow(helm: Helm) -> None:
    rendered = 0
    for claim, watchdog, log, policies, budget, secrets in itertools.product([False, True], repeat=6):
        values = everything() | {"artifacts": {"claim": {"create": claim, "keep": False}}}
        values["watchdog"]["enabled"] = watchdog
        values["server"] |= {"predictionLog": {"persistent": log and claim}, "podDisruptionBudget": {"enabled": budget}}
        values["networkPolicies"]["enabled"] = policies
        values["trainer"]["readableSecrets"] = ["one"] if secrets else []
        documents = helm.documents(values)
        assert {document["kind"] for document in documents} <= KINDS
        for name, spec in pod_specs(documents):
            check_confined(name, spec)
        for role in of_kind(documents, "Role").values():
            check_narrow(role)
        rendered += 1
    assert rendered == 64


def check_narrow(role: dict[str, Any]) -> None:
    name = role["metadata"]["name"]
    for rule in role["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name
        if rule["resources"] == ["secrets"]:
            assert rule["verbs"] == ["get"], name
            assert rule["resourceNames"], name
        elif rule["apiGroups"] != ["kueue.x-k8s.io"]:  # the test's own
            assert set(rule["resources"]) <= RESOURCES, name
        if name.endswith("triggerer"):
            assert not {"create", "patch", "update"} & set(rule["verbs"]), name


ROUTES = {
    "gateway_api": {("gateway.networking.k8s.io", "httproutes")},
    "istio": {("networking.istio.io", "virtualservices")},
    "kserve": {("serving.kserve.io", "inferenceservices")},
    "argo_rollouts": {("argoproj.io", "rollouts"), ("argoproj.io", "rollouts/status")},
    "replica_ratio": {("", "services"), ("apps", "deployments")},
}


@pytest.mark.parametrize("kind", ROUTES)
def test_the_watchdog_of_routes_in_a_cluster_may_touch_them_and_leases_alone(helm: Helm, kind: str) -> None:
    values = everything() | {"watchdog": {"enabled": True, "gateway": {"kind": kind, "router": {"name": "{route}"}}}}
    documents = helm.documents(values)
    name = "demo-airflow-mlops-watchdog"
    (cron,) = of_kind(documents, "CronJob").values()
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][-1] == "airflow_mlops.cli.cluster_watchdog"
    assert container["args"] == [f"--kind={kind}", "--namespace=mlops", '--router={"name":"{route}"}']
    assert pod["automountServiceAccountToken"]
    assert [volume["name"] for volume in pod["volumes"]] == ["scratch"]
    check_confined(name, {**pod, "automountServiceAccountToken": False})
    rules = of_kind(documents, "Role")[name]["rules"]
    touched = {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert set(touched) == ROUTES[kind] | {("coordination.k8s.io", "leases")}
    assert set().union(*touched.values()) <= {"get", "list", "patch"}
    assert of_kind(documents, "RoleBinding")[name]["subjects"] == [
        {"kind": "ServiceAccount", "name": name, "namespace": "mlops"}
    ]
    policy = of_kind(documents, "NetworkPolicy")[name]["spec"]
    assert policy["ingress"] == []
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {443, 6443}


def test_the_chart_knows_every_kind_of_gateway_in_a_cluster() -> None:
    assert set(ROUTES) == {name for name, kind in GATEWAYS.items() if kind.in_cluster}
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    allowed = schema["airflow"]["properties"]["allow"]["properties"]["rollouts"]["enum"]
    watched = schema["watchdog"]["properties"]["gateway"]["properties"]["kind"]["enum"]
    assert set(allowed) == set(ROUTES) | {""}
    assert set(watched) == set(ROUTES) | {"envoy"}


@pytest.mark.parametrize("kind", ROUTES)
def test_airflow_moves_traffic_only_where_it_is_allowed(helm: Helm, kind: str) -> None:
    before = of_kind(helm.documents(), "Role")
    after = of_kind(helm.documents({"airflow": {"allow": {"rollouts": kind}}}), "Role")
    for role in ("worker", "triggerer"):
        name = f"demo-airflow-mlops-airflow-{role}"
        kept = before[name]["rules"]
        more = [rule for rule in after[name]["rules"] if rule not in kept]
        assert [rule for rule in after[name]["rules"] if rule in kept] == kept
        touched = {(group, resource) for rule in more for group in rule["apiGroups"] for resource in rule["resources"]}
        allowed = ROUTES[kind] | {("coordination.k8s.io", "leases")}
        if GATEWAYS[kind].deployments:
            allowed |= {("apps", "deployments"), ("", "services")}
        assert touched == allowed
        if role == "triggerer":
            assert not {"create", "delete", "update"} & {verb for rule in more for verb in rule["verbs"]}


def test_the_watchdog_over_files_has_no_role(helm: Helm) -> None:
    documents = helm.documents(everything())
    assert "demo-airflow-mlops-watchdog" not in of_kind(documents, "Role")
    assert of_kind(documents, "NetworkPolicy")["demo-airflow-mlops-watchdog"]["spec"]["egress"] == []


def test_rendering_the_same_values_gives_the_same_text(helm: Helm) -> None:
    values = everything()
    again = {name: values[name] for name in reversed(values)}
    assert helm.render(values) == helm.render(again)


def test_the_model_server_gets_what_its_own_parser_takes(helm: Helm) -> None:
    values = everything() | {
        "modelServers": [server(resources={"requests": {"cpu": 2, "memory": "1Gi"}, "limits": {"memory": "1Gi"}})]
    }
    documents = helm.documents(values)
    (deployment,) = of_kind(documents, "Deployment").values()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    options = _parser().parse_args(container["args"])
    assert (options.name, options.model_name, options.version, options.digest) == ("flights-v3", "flights", "3", DIGEST)
    assert container["image"] == f"registry.example/server@{DIGEST}"
    assert container["resources"]["requests"] == {"cpu": 2, "memory": "1Gi"}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/srv/mlops"]["readOnly"]
    assert str(options.model_dir).startswith("/srv/mlops/")
    assert mounts[str(options.prediction_log)]["subPath"] == "predictions"
    (port,) = container["ports"]
    assert options.port == port["containerPort"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]


def test_services_budgets_policies_and_monitors_select_their_servers_and_no_others(helm: Helm) -> None:
    documents = helm.documents(everything())
    pods = {
        name: document["spec"]["template"]["metadata"]["labels"]
        for name, document in of_kind(documents, "Deployment").items()
    }
    assert len(pods) == 2

    def selected(labels: dict[str, str]) -> set[str]:
        return {name for name, has in pods.items() if labels.items() <= has.items()}

    for name, document in of_kind(documents, "Service").items():
        assert selected(document["spec"]["selector"]) == {name}
    for name, document in of_kind(documents, "PodDisruptionBudget").items():
        assert selected(document["spec"]["selector"]["matchLabels"]) == {name}
    for name, document in of_kind(documents, "Deployment").items():
        assert selected(document["spec"]["selector"]["matchLabels"]) == {name}
    policy = of_kind(documents, "NetworkPolicy")["demo-airflow-mlops-server"]
    assert selected(policy["spec"]["podSelector"]["matchLabels"]) == set(pods)
    (monitor,) = of_kind(documents, "ServiceMonitor").values()
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert all(wanted <= service["metadata"]["labels"].items() for service in of_kind(documents, "Service").values())


def test_every_kind_of_training_pod_is_under_a_policy(helm: Helm) -> None:
    policies = of_kind(helm.documents(everything()), "NetworkPolicy")
    maps = of_kind(helm.documents(everything()), "ConfigMap").values()
    (template,) = (one for one in maps if "trainer.yaml" in one["data"])
    labels = yaml.safe_load(template["data"]["trainer.yaml"])["metadata"]["labels"]
    by_template = policies["demo-airflow-mlops-trainer-template"]["spec"]["podSelector"]["matchLabels"]
    assert by_template.items() <= labels.items()
    keys = {
        expression["key"]
        for policy in policies.values()
        for expression in policy["spec"]["podSelector"].get("matchExpressions", ())
    }
    assert keys == {JOB_LABEL, WARM_POD_LABEL}
    alone = {"networkPolicies": {"trainer": {"betweenPods": False}}}
    for policy in of_kind(helm.documents(alone), "NetworkPolicy").values():
        if "trainer" in policy["metadata"]["name"]:
            assert policy["spec"]["ingress"] == []
            assert policy["spec"]["egress"] == [
                {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
            ]


def test_another_version_of_the_chart_restarts_no_model_server(helm: Helm) -> None:
    (deployment,) = of_kind(helm.documents(everything() | {"modelServers": [server()]}), "Deployment").values()
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert "helm.sh/chart" not in labels
    assert "app.kubernetes.io/version" not in labels


def test_trainings_get_an_api_token_only_to_read_named_secrets(helm: Helm) -> None:
    def template(values: dict[str, Any]) -> dict[str, Any]:
        (found,) = of_kind(helm.documents(values), "ConfigMap").values()
        return yaml.safe_load(found["data"]["trainer.yaml"])["spec"]

    assert template({})["automountServiceAccountToken"] is False
    assert template({"trainer": {"readableSecrets": ["one"]}})["automountServiceAccountToken"] is True
    (rule,) = of_kind(helm.documents(everything()), "Role")["demo-airflow-mlops-trainer"]["rules"]
    assert rule["resourceNames"] == ["flights-data"]


def test_a_store_that_pods_have_otherwise_is_not_mounted(helm: Helm) -> None:
    values = everything() | {"artifacts": {"claim": {"create": False}}}
    values["server"]["predictionLog"] = {"persistent": False}
    values["modelServers"] = [server(modelDir="/opt/model")]
    for name, spec in pod_specs(helm.documents(values)):
        assert "artifacts" not in {volume["name"] for volume in spec["volumes"]}, name
    values["artifacts"]["claim"]["name"] = "bucket"
    values["modelServers"] = [server()]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for _, spec in pod_specs(helm.documents(values))
        for volume in spec["volumes"]
        if volume["name"] == "artifacts"
    ]
    assert claims == ["bucket"] * 2


def test_accounts_of_other_namespaces_can_be_bound(helm: Helm) -> None:
    values = {"airflow": {"workers": [{"name": "worker", "namespace": "airflow"}, {"name": "here"}], "triggerers": []}}
    (binding,) = of_kind(helm.documents(values), "RoleBinding").values()
    assert [(one["name"], one["namespace"]) for one in binding["subjects"]] == [
        ("worker", "airflow"),
        ("here", "mlops"),
    ]
    documents = helm.documents({"airflow": {"podTemplateNamespace": "airflow"}})
    (template,) = of_kind(documents, "ConfigMap").values()
    assert template["metadata"]["namespace"] == "airflow"
    assert yaml.safe_load(template["data"]["trainer.yaml"])["metadata"]["namespace"] == "mlops"


def test_the_notes_say_what_to_set_in_airflow(helm: Helm) -> None:
    notes = helm.notes(everything())
    for expected in (
        "artifact_root: file:///srv/mlops",
        "claimName: demo-airflow-mlops-artifacts",
        "name: demo-airflow-mlops-pod-templates",
        "pod_template_file=",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT=",
        "service account demo-airflow-mlops-trainer",
        "workers mlops/airflow-worker",
        "http://demo-airflow-mlops-flights-v3.mlops.svc:8080/v2/models/flights/infer",
        "stays when this release is uninstalled",
    ):
        assert expected in notes
    assert "The rollout watchdog is off" in helm.notes()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trainr": {}}, "'trainr' not allowed"),
        ({"server": {"port": "http"}}, "/server/port': got string, want integer"),
        ({"server": {"user": 0}}, "/server/user': minimum: got 0"),
        ({"server": {"image": {"pullPolicy": "Sometimes"}}}, "/server/image/pullPolicy'"),
        (
            {"trainer": {"resources": {"requests": {"memory": "1 GB"}, "limits": {}}}},
            "/trainer/resources/requests/memory'",
        ),
        ({"modelServers": [server(digest="sha256:12")]}, "/modelServers/0/digest': 'sha256:12' does not match"),
        ({"modelServers": [server(version=3)]}, "/modelServers/0/version': got number, want string"),
        ({"modelServers": [{"name": "a"}]}, "missing properties 'modelName'"),
        ({"artifacts": {"mountPath": "srv"}}, "/artifacts/mountPath': 'srv' does not match"),
        ({"watchdog": {"gateway": {"kind": "traefik"}}}, "/watchdog/gateway/kind': value must be one of 'envoy'"),
        ({"monitoring": {"kind": "Probe"}}, "/monitoring/kind': value must be one of 'ServiceMonitor', 'PodMonitor'"),
        (
            {"airflow": {"extraRules": [{"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}]}},
            "/airflow/extraRules/0/resources/0': '*' does not match",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_value_is_refused_by_its_name(helm: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        helm.render(values)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"modelServers": [server()]}, "server.image.repository: name the repository"),
        (everything() | {"modelServers": [server(), server()]}, 'modelServers: two are named "flights-v3"'),
        (everything() | {"modelServers": [server(modelDir="/opt/x")]}, "/opt/x is not in artifacts.mountPath"),
        (everything() | {"artifacts": {"claim": {"create": False}}}, "there is no artefact claim to log into"),
        (everything() | {"watchdog": {"enabled": True}}, "watchdog.gateway.claim: name the claim"),
        ({"trainer": {"serviceAccount": {"create": False}}}, "trainer.serviceAccount.name: name the account"),
        ({"monitoring": {"enabled": True}}, "this cluster has no monitoring.coreos.com/v1/ServiceMonitor"),
    ],
    ids=["image", "twice", "model-dir", "log", "watchdog", "account", "monitor"],
)
def test_what_does_not_fit_together_is_refused_with_what_to_set(helm: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        helm.render(values)
    assert said in str(refusal.value)


def test_a_name_too_long_for_the_objects_is_refused(helm: Helm) -> None:
    with pytest.raises(RefusedError, match="set fullnameOverride to at most 32 characters"):
        helm.render(name="a-release-with-a-rather-long-name")
    helm.render({"fullnameOverride": "short"}, name="a-release-with-a-rather-long-name")


def test_the_schema_describes_every_value_and_knows_no_others() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def check(part: dict[str, Any], where: str) -> None:
        for one in part.get("allOf", ()):
            check(schema["definitions"][one["$ref"].rsplit("/", 1)[1]], where)
        if "properties" in part:
            assert part["additionalProperties"] is False, where
            for name, child in part["properties"].items():
                assert child.get("description"), f"{where}.{name}"
                check(child, f"{where}.{name}")
        if isinstance(part.get("items"), dict):
            check(part["items"], f"{where}[]")

    check(schema, "")
    for name, part in values.items():
        known = set(schema["properties"][name].get("properties", ()))
        if known:
            assert set(part) == known, name
    assert set(schema["properties"]) - set(values) == {"global"}
