"""Starting, checking and stopping the servers of a model's versions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.hooks.defaults import MODEL_GATEWAY
from airflow_mlops.hooks.documents import dag_folder
from airflow_mlops.links.base import push_link
from airflow_mlops.links.endpoint import EndpointLink
from airflow_mlops.links.pages import EvidenceLink, ModelLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors, conclude

# Airflow's triggers take longer to import than all of this; a DAG is parsed without them.
if TYPE_CHECKING:
    from airflow_mlops.adapters.serving.open_inference import InferenceClient
    from airflow_mlops.hooks.gateway import ModelGatewayHook
    from airflow_mlops.loading import Loading
    from airflow_mlops.rollout.ports import ServerFleet
    from airflow_mlops.rollout.serving import ServerSpec
    from airflow_mlops.rollout.smoke import Reply
    from airflow_mlops.triggers.serving import ServerEvent

__all__ = ["CheckModelServerOperator", "StartModelServerOperator", "StopModelServersOperator"]

_BATCH_ATTEMPTS = 5


def _hook(gateway_conn_id: str) -> ModelGatewayHook:
    from airflow_mlops.hooks.gateway import ModelGatewayHook

    return ModelGatewayHook(gateway_conn_id)


class StartModelServerOperator(MLOpsOperator):
    """Start a model version's server beside the others and wait until it is ready; it gets no traffic yet.

    A retry, or another run with the same arguments, finds the server that the first try started. The same version
    with other arguments is an error: stop the server first. Returns ``{"server", "port", "url"}``, each also by itself
    (``started.output["server"]``).

    :param model_name: name of the registered model (templated)
    :param version: registered version (templated)
    :param model: the model's reference (templated)
    :param loading: how it may be loaded: mapping, or path of a YAML file, with the fields of
        :class:`~airflow_mlops.loading.LoadingPolicy`; None for its defaults (templated)
    :param faults: a fire drill: ``error_rate`` (0 to 1) and ``delay_ms``; None or empty for none (templated)
    :param gateway_conn_id: connection of type ``model_gateway``
    :param ready_timeout_seconds: how long the server may take
    :param poll_seconds: time between two looks at its status
    :param deferrable: wait in the triggerer instead of a worker slot
    """

    template_fields: Sequence[str] = ("model_name", "version", "model", "loading", "faults")
    operator_extra_links = (EndpointLink(), ModelLink())
    ui_color = "#e8f0d8"

    def __init__(
        self,
        *,
        model_name: str,
        version: str,
        model: Mapping[str, Any],
        loading: str | Path | Mapping[str, Any] | None = None,
        faults: Mapping[str, Any] | None = None,
        gateway_conn_id: str = MODEL_GATEWAY,
        ready_timeout_seconds: float = 120.0,
        poll_seconds: float = 0.5,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        # So that ``started.output["server"]`` works, also after a deferral.
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.model_name = model_name
        self.version = version
        self.model = model
        self.loading = loading
        self.faults = faults
        self.gateway_conn_id = gateway_conn_id
        self.ready_timeout_seconds = ready_timeout_seconds
        self.poll_seconds = poll_seconds
        self.deferrable = deferrable

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for the server, then wait."""
        from airflow_mlops.triggers.serving import ModelServerReadyTrigger, Waiting, look

        spec = self._spec()
        fleet = _hook(self.gateway_conn_id).fleet()
        now, before = time.time(), fleet.status(spec.name)
        known = spec.name in fleet.list()
        fleet.ensure(spec)
        self.log.info("Asked for model server %s (%s)", spec.name, spec.model.digest)
        if spec.fault_error_rate or spec.fault_delay_ms:
            self.log.warning(
                "Fire drill: %.1f %% errors, %d ms delay", 100 * spec.fault_error_rate, spec.fault_delay_ms
            )
        waiting = Waiting(
            server=spec.name,
            # What was told before is about an earlier server of that name. Where nothing was, another machine's clock
            # may tell the time.
            since=0.0 if known or before is None else now,
            deadline=now + self.ready_timeout_seconds,
            restarts=before.restarts if known and before is not None else 0,
        )
        event = look(fleet.status(spec.name), waiting, now)
        if event is None and self.deferrable:
            self.defer(
                trigger=ModelServerReadyTrigger(
                    gateway_conn_id=self.gateway_conn_id, waiting=encode(waiting), poll_seconds=self.poll_seconds
                ),
                method_name="execute_complete",
            )
        while event is None:
            time.sleep(self.poll_seconds)
            event = look(fleet.status(spec.name), waiting, time.time())
        return self._finish(context, event)

    @airflow_errors()
    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after the triggerer has waited."""
        from airflow_mlops.triggers.events import from_payload
        from airflow_mlops.triggers.serving import ServerEvent

        return self._finish(context, from_payload(ServerEvent, event))

    def _spec(self) -> ServerSpec:
        from airflow_mlops.rollout.serving import ServerSpec, server_name

        faults = dict(self.faults or {})
        for name, value in faults.items():
            if name not in ("error_rate", "delay_ms"):
                raise SpecificationError(f"faults.{name}", value, "no such fault; one of error_rate, delay_ms")
        version = str(self.version)
        document = {
            "name": server_name(str(self.model_name), version),
            "model_name": self.model_name,
            "version": version,
            "model": self.model,
            "loading": self._loading(),
            "fault_error_rate": faults.get("error_rate", 0.0),
            "fault_delay_ms": faults.get("delay_ms", 0),
        }
        return decode(ServerSpec, document)

    def _loading(self) -> Loading | None:
        """Read the policy and check the model's signature, so that a server that would refuse is not started."""
        from airflow_mlops.references import ModelRef

        if self.loading is None:
            return None
        from airflow_mlops.hooks.artifacts import ArtifactStore
        from airflow_mlops.hooks.model_signatures import read_loading

        digest = decode(ModelRef, self.model, where="model").digest
        return read_loading(self.loading, [digest], store=ArtifactStore.from_config(), folder=dag_folder(self))

    def _finish(self, context: Context, event: ServerEvent) -> dict[str, Any]:
        if event.phase != "ready":
            waited = f" within {self.ready_timeout_seconds:g} s" if event.phase == "timeout" else ""
            text = f"model server {event.server!r} did not become ready{waited}: {event.message}"
            # Its own files or arguments are wrong: the same again would crash again.
            raise AirflowFailException(text) if event.phase == "crashed" else AirflowException(text)
        base = f"http://{event.host}:{event.port}"
        push_link(context, EndpointLink(), f"{base}/v2/models/{self.model_name}")
        self.log.info("Model server %s is ready on %s", event.server, base)
        return {"server": event.server, "port": event.port, "url": f"{base}/v2/models/{self.model_name}/infer"}


class CheckModelServerOperator(MLOpsOperator):
    """Ask a model server for the model's own sample of rows and compare with the predictions made offline.

    The requests go to the server's port, past the gateway. Wrong predictions fail; errors now and then only warn,
    because their rate under traffic is for the canary to judge. Returns ``{"verdict", "checks", "evidence_uri",
    "evidence_digest", "server"}``.

    :param server: name of the server, as ``StartModelServerOperator`` returned it (templated)
    :param model_name: name of the registered model (templated)
    :param model: the model's reference; its ``smoke.json`` holds rows and predictions (templated)
    :param gateway_conn_id: connection of type ``model_gateway``
    :param tolerance: largest accepted difference of a probability
    :param max_p95_ms: bound on the 95th percentile of the latency; None reports it without judging
    :param single_requests: rows that are asked for once more, each in a request of its own
    """

    template_fields: Sequence[str] = ("server", "model_name", "model")
    operator_extra_links = (EndpointLink(), EvidenceLink(), ModelLink())
    ui_color = "#f0f0d0"

    def __init__(
        self,
        *,
        server: str,
        model_name: str,
        model: Mapping[str, Any],
        gateway_conn_id: str = MODEL_GATEWAY,
        tolerance: float = 1e-6,
        max_p95_ms: float | None = None,
        single_requests: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.server = server
        self.model_name = model_name
        self.model = model
        self.gateway_conn_id = gateway_conn_id
        self.tolerance = tolerance
        self.max_p95_ms = max_p95_ms
        self.single_requests = single_requests

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Ask, compare, record."""
        from airflow_mlops.adapters.serving.open_inference import InferenceClient
        from airflow_mlops.container.smoke import read_sample
        from airflow_mlops.hooks.artifacts import ArtifactStore
        from airflow_mlops.operators.record import record
        from airflow_mlops.references import ModelRef
        from airflow_mlops.rollout.smoke import judge_smoke
        from airflow_mlops.verdict import combine

        store, model = ArtifactStore.from_config(), decode(ModelRef, self.model, where="model")
        sample = read_sample(store.localize(model))
        status = _hook(self.gateway_conn_id).fleet().status(self.server)
        if status is None or status.phase != "ready":
            seen = "unknown" if status is None else f"{status.phase}: {status.message}"
            raise AirflowException(f"model server {self.server!r} is not ready, it is {seen}")
        base = f"http://{status.host}:{status.port}"
        push_link(context, EndpointLink(), f"{base}/v2/models/{self.model_name}")
        with InferenceClient(base, self.model_name) as client:
            replies = self._ask(client, sample.rows)
        checks = judge_smoke(
            replies, sample.predictions, server=self.server, tolerance=self.tolerance, max_p95_ms=self.max_p95_ms
        )
        verdict = combine(checks)
        for check in checks:
            self.log.info("%s: %s: %s", check.name, check.verdict.value, check.reason)
        uri, evidence = record(
            context,
            store,
            decision="rollout",
            subject=self.model_name,
            verdict=verdict,
            checks=checks,
            references={"candidate": model},
            policy={"tolerance": self.tolerance, "max_p95_ms": self.max_p95_ms},
            notes={"server": self.server, "check": "smoke"},
        )
        wrong = "; ".join(check.reason for check in checks if not check.verdict.promotes)
        conclude(verdict, f"model server {self.server!r} does not answer as the model did offline: {wrong}")
        return {
            "verdict": verdict.value,
            "server": self.server,
            "checks": [
                {"name": check.name, "verdict": check.verdict.value, "reason": check.reason} for check in checks
            ],
            "evidence_uri": uri,
            "evidence_digest": evidence,
        }

    def _ask(self, client: InferenceClient, sample: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """Ask for the whole sample until there is an answer, then for single rows to see the latency."""
        # Not an id that a label would ever have: the log shows what these were.
        name, everything = f"smoke/{self.server}", range(len(sample))
        replies: list[Reply] = []
        while len(replies) < _BATCH_ATTEMPTS and not any(reply.answered for reply in replies):
            replies.append(client.ask(sample, everything, f"{name}/all-{len(replies)}"))
        replies += [client.ask(sample, [row], f"{name}/{row}") for row in everything[: self.single_requests]]
        return replies


class StopModelServersOperator(MLOpsOperator):
    """Stop the servers of a model that nobody needs any more.

    A server that has traffic, or takes part in a rollout under way, is never stopped. Returns ``{"stopped",
    "kept"}``, both lists of names.

    :param model_name: name of the registered model (templated)
    :param keep: names of servers to keep besides those; naming some makes it an error if another one has traffic,
        None stops whatever has none (templated)
    :param gateway_conn_id: connection of type ``model_gateway``
    """

    template_fields: Sequence[str] = ("model_name", "keep")
    operator_extra_links = (ModelLink(),)
    ui_color = "#e8e8e8"

    def __init__(
        self, *, model_name: str, keep: Sequence[str] | None = None, gateway_conn_id: str = MODEL_GATEWAY, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.keep = keep
        self.gateway_conn_id = gateway_conn_id

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Decide which servers are not needed, take them off the route, stop them."""
        hook = _hook(self.gateway_conn_id)
        fleet, router = hook.fleet(), hook.router()
        servers = _servers_of(fleet, self.model_name)
        view = router.observe(self.model_name)
        loaded = {name for name, weight in view.weights.items() if weight > 0}
        unwanted = [name for name in servers if name not in (self.keep or ())]
        if self.keep is not None and (refused := sorted(loaded.intersection(unwanted))):
            weights = ", ".join(f"{name} has {view.weights[name]} %" for name in refused)
            raise PermanentAdapterError(f"not stopped, because {weights} of the traffic; move it first, or keep them")
        needed = loaded | _in_rollout(hook, self.model_name)
        stopped = [name for name in unwanted if name not in needed]
        for name in stopped:
            if name in view.targets:
                router.remove_target(self.model_name, name)
            fleet.remove(name)
            self.log.info("Stopped model server %s", name)
        return {"stopped": stopped, "kept": [name for name in servers if name not in stopped]}


def _servers_of(fleet: ServerFleet, model_name: str) -> list[str]:
    from airflow_mlops.rollout.serving import server_name

    prefix = server_name(model_name, "")
    # ``flights-v2`` could be a model too, and ``flights-v2-v1`` its server.
    return [name for name in fleet.list() if name.startswith(prefix) and "-v" not in name[len(prefix) :]]


def _in_rollout(hook: ModelGatewayHook, model_name: str) -> set[str]:
    lease = hook.store().load(model_name)
    if lease is None or lease.state is None or lease.state.phase != "progressing":
        return set()
    return {name for name in (lease.state.candidate, lease.state.stable) if name is not None}
