"""What the tests of routers on objects of a cluster share: objects, faults on the way to the API server, behaviours.

The controllers of these kinds do not run in the test cluster; a test writes the status that they would write.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from urllib3.exceptions import ReadTimeoutError

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects, ObjectKind
from airflow_mlops.adapters.traffic.fenced_object import ANNOTATIONS
from airflow_mlops.exceptions import PermanentAdapterError, StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.ports import Router
from airflow_mlops.testing.router_conformance import RouterConformance

Json = dict[str, Any]
Patch = Callable[[Json], object]


class Way:
    """The way to the API server, with accidents on it: ``kubernetes.client.ApiClient`` as far as routers use it.

    :param client: the real client
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.before_patch: list[Callable[[], None]] = []
        self.answers_to_lose = 0

    def call_api(self, path: str, method: str, **options: Any) -> Any:
        if method == "PATCH" and self.before_patch:
            self.before_patch.pop(0)()
        answer = self._client.call_api(path, method, **options)
        if method == "PATCH" and self.answers_to_lose:
            self.answers_to_lose -= 1
            raise ReadTimeoutError(None, path, "the answer was lost")  # type: ignore[arg-type]
        return answer


class Objects:
    """Objects of one kind, changed by another hand than the router's.

    :param client: ``kubernetes.client.ApiClient``, or one in memory
    """

    def __init__(self, client: Any, namespace: str, kind: ObjectKind) -> None:
        self.client, self.namespace, self.kind = client, namespace, kind
        self.way = Way(client)
        #: What a router is made with.
        self.by_way = KubernetesObjects(self.way, namespace)  # type: ignore[arg-type]
        self._direct = KubernetesObjects(client, namespace)
        self._made: list[str] = []

    def create(self, name: str, spec: Json, **metadata: Any) -> None:
        body = {
            "apiVersion": self.kind.api_version,
            "kind": self.kind.kind,
            "metadata": {"name": name, **metadata},
            "spec": copy.deepcopy(spec),
        }
        assert self._direct.create(self.kind, body) is not None, f"{name} is there already"
        self._made.append(name)

    def get(self, name: str) -> Json:
        found = self._direct.get(self.kind, name)
        assert found is not None
        return copy.deepcopy(dict(found))

    def edit(self, name: str, change: Patch) -> None:
        """Change a copy of the object as it is, and write that."""
        document = self.get(name)
        change(document)
        self._put(name, "", document)

    def report(self, name: str, status: Json) -> None:
        """Write a status, as the kind's controller does."""
        self._put(name, "/status", self.get(name) | {"status": status})

    def _put(self, name: str, subresource: str, document: Json) -> None:
        kind = self.kind
        path = f"/apis/{kind.group}/{kind.version}/namespaces/{self.namespace}/{kind.plural}/{name}{subresource}"
        self.client.call_api(
            path,
            "PUT",
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=document,
            auth_settings=["BearerToken"],
            _preload_content=False,
        )

    def delete_all(self) -> None:
        for name in self._made:
            self._direct.delete(self.kind, name)


def without_ours(document: Json, ours: Patch) -> Json:
    """Return an object without what a router may write and what the API server writes itself.

    :param ours: takes the fields away that the router may write
    """
    rest = copy.deepcopy(document)
    for name in ("resourceVersion", "generation", "managedFields"):
        rest["metadata"].pop(name, None)
    annotations = rest["metadata"].get("annotations", {})
    rest["metadata"]["annotations"] = {
        name: value for name, value in annotations.items() if not name.startswith(ANNOTATIONS)
    }
    ours(rest)
    return rest


def limited(api: Any, namespace: str, *rules: tuple[str, str, Sequence[str]]) -> Any:
    """Return a client that may do only this in a namespace.

    :param rules: API group, resource and verbs
    """
    from kubernetes import client

    name = f"limited-{uuid.uuid4().hex[:8]}"
    rights = client.RbacAuthorizationV1Api(api.api_client)
    api.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
    said = [{"apiGroups": [group], "resources": [resource], "verbs": list(verbs)} for group, resource, verbs in rules]
    rights.create_namespaced_role(namespace, {"metadata": {"name": name}, "rules": said})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    rights.create_namespaced_role_binding(
        namespace, {"metadata": {"name": name}, "subjects": [subject], "roleRef": role}
    )
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = api.create_namespaced_service_account_token(name, namespace, request)
    configuration = copy.copy(api.api_client.configuration)
    configuration.cert_file = configuration.key_file = None
    configuration.username = configuration.password = ""
    configuration.api_key = {"authorization": f"Bearer {made.status.token}"}
    made_for = client.ApiClient(configuration)
    deadline = time.monotonic() + 30
    for group, resource, verbs in rules:
        plural, _, subresource = resource.partition("/")
        asked = {"namespace": namespace, "group": group, "resource": plural, "verb": verbs[-1]}
        review = {"spec": {"resourceAttributes": asked | ({"subresource": subresource} if subresource else {})}}
        # The API server hears of new rights a moment later.
        while not client.AuthorizationV1Api(made_for).create_self_subject_access_review(review).status.allowed:
            assert time.monotonic() < deadline, f"{name} never gets its rights"
            time.sleep(0.05)
    return made_for


class FencedBehaviours(RouterConformance):
    """What every router on an object does beyond the port: accidents on the way, other writers, missing rights."""

    @pytest.fixture
    def objects(self) -> Objects:
        """Return the objects of the router's kind."""
        raise NotImplementedError("a subclass says which")

    @pytest.fixture
    def ours(self) -> Patch:
        """Take away from an object what the router may write."""
        raise NotImplementedError("a subclass says what")

    @pytest.fixture
    def begun(self, router: Router, route: str, both: Mapping[str, int], names: tuple[str, str, str]) -> int:
        """Return the generation of a rollout at 10 %."""
        generation = router.ensure_targets(route, both, fencing_token=1).generation
        weights = {names[0]: 90, names[1]: 10}
        return router.set_weights(route, weights, fencing_token=1, expected_generation=generation).generation

    def test_whatever_is_not_ours_stays_as_it_is(
        self, router: Router, route: str, objects: Objects, names: tuple[str, str, str], ours: Patch, begun: int
    ) -> None:
        objects.edit(route, lambda it: it["metadata"].setdefault("labels", {}).update(team="a"))
        before = without_ours(objects.get(route), ours)
        router.set_weights(route, {names[0]: 50, names[1]: 50}, fencing_token=1, expected_generation=begun)
        router.set_weights(route, {names[0]: 100}, fencing_token=1, expected_generation=None)
        assert without_ours(objects.get(route), ours) == before

    def test_a_write_whose_answer_was_lost_is_repeated_without_harm(
        self, router: Router, route: str, objects: Objects, names: tuple[str, str, str], begun: int
    ) -> None:
        objects.way.answers_to_lose = 1
        weights = {names[0]: 50, names[1]: 50}
        with pytest.raises(TransientAdapterError, match="does not answer"):
            router.set_weights(route, weights, fencing_token=1, expected_generation=begun)
        view = router.set_weights(route, weights, fencing_token=1, expected_generation=begun)
        assert (view.generation, dict(view.weights)) == (begun + 1, weights)
        assert router.observe(route).foreign_edits == ()

    def test_a_write_in_between_is_decided_again(
        self, router: Router, route: str, objects: Objects, names: tuple[str, str, str], begun: int
    ) -> None:
        def label() -> None:
            objects.edit(route, lambda it: it["metadata"].setdefault("labels", {}).update(team="b"))

        objects.way.before_patch = [label, label]
        weights = {names[0]: 50, names[1]: 50}
        view = router.set_weights(route, weights, fencing_token=1, expected_generation=begun)
        assert (view.generation, dict(view.weights)) == (begun + 1, weights)
        assert objects.get(route)["metadata"]["labels"]["team"] == "b"

    def test_a_newer_token_in_between_wins(
        self, router: Router, route: str, objects: Objects, names: tuple[str, str, str], begun: int
    ) -> None:
        def pass_on() -> None:
            objects.edit(route, lambda it: it["metadata"]["annotations"].update({f"{ANNOTATIONS}/token": "2"}))

        objects.way.before_patch = [pass_on]
        with pytest.raises(StaleWriteError, match="token 1 is older than 2"):
            router.set_weights(route, {names[0]: 50, names[1]: 50}, fencing_token=1, expected_generation=begun)
        assert dict(router.observe(route).weights) == {names[0]: 90, names[1]: 10}

    def test_an_object_that_does_not_exist_is_named(self, router: Router, objects: Objects) -> None:
        with pytest.raises(PermanentAdapterError, match=rf"no {objects.kind.kind} {objects.namespace}/absent"):
            router.ensure_targets("absent", {"a": 1}, fencing_token=1)

    def test_missing_rights_are_named(
        self, router: Router, route: str, api: Any, objects: Objects, both: Mapping[str, int]
    ) -> None:
        for verbs, refused in (((), "get"), (("get",), "patch")):
            client = limited(api, objects.namespace, (objects.kind.group, objects.kind.plural, verbs or ("list",)))
            poor = type(router)(KubernetesObjects(client, objects.namespace))
            with pytest.raises(PermanentAdapterError, match=rf"403 Forbidden.* cannot {refused} resource"):
                poor.ensure_targets(route, both, fencing_token=1)
            client.close()
        assert router.observe(route).generation == 0


class ServesFromTheStart(FencedBehaviours):
    """Kinds whose object always has a predictor: the first name has all requests before any rollout.

    ``targets`` are two that the object has, and a third that it has not.
    """

    def test_a_route_that_nobody_wrote_is_empty(
        self,
        router: Router,
        route: str,
        both: Mapping[str, int],  # type: ignore[override]
        names: tuple[str, str, str],
    ) -> None:
        view = router.observe(route)
        assert (view.generation, dict(view.weights), view.foreign_edits) == (0, {names[0]: 100}, ())
        assert dict(view.targets) == both

    def test_targets_are_added_without_traffic_and_stay(
        self, router: Router, route: str, both: Mapping[str, int], names: tuple[str, str, str] = ("", "", "")
    ) -> None:
        for name, port in both.items():
            view = router.ensure_targets(route, {name: port}, fencing_token=1)
        assert (dict(view.targets), dict(view.weights)) == (dict(both), {next(iter(both)): 100})

    def test_traffic_never_goes_to_an_unknown_target(
        self, router: Router, route: str, targets: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        stable, _, third = names
        view = router.ensure_targets(route, {stable: targets[stable]}, fencing_token=1)
        with pytest.raises(PermanentAdapterError, match=f"no such target {third}"):
            router.set_weights(route, {stable: 90, third: 10}, fencing_token=1, expected_generation=view.generation)
        with pytest.raises(PermanentAdapterError, match=f"no such target {third}"):
            router.ensure_targets(route, {third: targets[third]}, fencing_token=1)
        assert dict(router.observe(route).weights) == {stable: 100}
