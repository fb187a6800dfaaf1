"""The operator that lets a new model version take over, if it deserves to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import (
    LeaseHeldError,
    MLOpsError,
    StaleWriteError,
    TransientAdapterError,
)
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.documents import dag_folder, load_document
from airflow_mlops.hooks.gateway import ModelGatewayHook
from airflow_mlops.links.base import push_link
from airflow_mlops.links.endpoint import EndpointLink
from airflow_mlops.links.report import ReportLink, publish_report
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

# Reading a DAG needs none of the domain, so it is imported where it is used.
if TYPE_CHECKING:
    from airflow_mlops.rollout.look import Gateway
    from airflow_mlops.rollout.ports import Lease, ServerFleet
    from airflow_mlops.rollout.spec import RolloutSpec
    from airflow_mlops.rollout.state import RolloutState
    from airflow_mlops.triggers.rollout import RolloutTrigger

__all__ = ["CanaryRolloutOperator"]

# A lease outlives the longest time without a verdict that the spec allows, and a worker's restart.
_LEASE_RESERVE_SECONDS = 120.0


class CanaryRolloutOperator(MLOpsOperator):
    """Move traffic to a new model server step by step, and back at the first proof of harm.

    At every step the candidate is compared with the stable model on the same traffic. It goes on when an increase of
    failed (and slow) requests beyond what the spec tolerates is excluded, goes back when harm is proven, when nothing
    is known about it for too long or when the proof takes too long, and otherwise waits. The rollout's state lies
    beside the route: a retry, another worker or another triggerer takes it up where it is. Only one task moves a
    route's traffic at a time; a second one fails and names the first.

    Returns ``outcome`` (``promoted``), ``weights``, ``reason``, ``history`` (at, weights, verdict, reason,
    step_index) and ``evidence_uri``. When the traffic went back, the same facts are pushed with ``outcome``
    ``rolled_back``, and the task fails without a retry with the reason as its message.

    :param model_name: the model, which is the route (templated)
    :param candidate: name of the model server that shall take over; it has to be ready (templated)
    :param spec: mapping with the fields of :class:`~airflow_mlops.rollout.spec.RolloutSpec`, or path of a YAML file
        with it; relative paths begin at the DAG's folder (templated)
    :param gateway_conn_id: connection of the gateway
    :param deferrable: whether to wait in the triggerer; otherwise the task keeps its worker
    """

    template_fields: Sequence[str] = ("model_name", "candidate", "spec", "gateway_conn_id")
    operator_extra_links = (ReportLink(), EndpointLink())
    ui_color = "#e8f5e9"

    def __init__(
        self,
        *,
        model_name: str,
        candidate: str,
        spec: str | Path | Mapping[str, Any],
        gateway_conn_id: str = ModelGatewayHook.default_conn_name,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.candidate = candidate
        self.spec = spec
        self.gateway_conn_id = gateway_conn_id
        self.deferrable = deferrable
        self._held_token: int | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Take the lease, begin or resume, and drive the rollout to its end."""
        from airflow_mlops.rollout.spec import RolloutSpec
        from airflow_mlops.rollout.start import start

        with airflow_errors():
            spec = decode(RolloutSpec, load_document(self.spec, field="spec", folder=dag_folder(self)), where="spec")
            # Asked for before anything is moved: a rollout that cannot be recorded does not begin.
            ArtifactStore.from_config()
            hook = ModelGatewayHook(self.gateway_conn_id)
            push_link(context, EndpointLink(), f"{hook.endpoint}/v2/models/{self.model_name}")
            gateway, fleet = hook.gateway(), hook.fleet()
            lease = self._acquire(context, gateway, spec)
            with self._unjudged_never_stays(context, gateway, lease.token):
                # A retry is the same request; a task that a person cleared has other tries left, and asks anew.
                request = f"{lease.holder}/{context['ti'].max_tries}"
                state = start(
                    gateway, fleet, lease, route=self.model_name, candidate=self.candidate, spec=spec, request=request
                )
                if state.spec != spec:
                    self.log.warning("The spec has changed; the rollout under way ends by the rules that it began with")
                return self._drive(context, gateway, fleet, lease.token, state)

    def resume(self, context: Context, event: Any) -> dict[str, Any]:
        """Carry out what the trigger found, then wait again or end."""
        from airflow_mlops.triggers.events import RolloutEvent, from_payload

        with airflow_errors():
            found = from_payload(RolloutEvent, event)
            self.log.info("%s", found.message)
            if found.kind == "lost":
                raise StaleWriteError(found.message)
            hook = ModelGatewayHook(self.gateway_conn_id)
            gateway, fleet = hook.gateway(), hook.fleet()
            with self._unjudged_never_stays(context, gateway, found.token):
                if found.kind == "broken":
                    reason = f"the rollout could not be judged: {found.message}"
                    state = gateway.abort(self.model_name, token=found.token, reason=reason)
                else:
                    state = gateway.held(self.model_name, token=found.token)
                return self._drive(context, gateway, fleet, found.token, state)

    def on_kill(self) -> None:
        """Give the traffic back when the task is ended while it has a worker."""
        if self._held_token is None:
            return
        gateway = ModelGatewayHook(self.gateway_conn_id).gateway()
        self._give_back(gateway, self._held_token, "the task was ended while it moved traffic")

    def _acquire(self, context: Context, gateway: Gateway, spec: RolloutSpec) -> Lease:
        who = origin(context)
        holder = "/".join((who.dag_id, who.run_id, who.task_id, str(who.map_index)))
        try:
            lease = gateway.store.acquire(
                self.model_name, holder, lease_seconds=spec.max_unknown_seconds + _LEASE_RESERVE_SECONDS
            )
        except LeaseHeldError as error:
            # Waiting would hide that two pipelines release the same model.
            raise AirflowFailException(str(error)) from error
        self._held_token = lease.token
        return lease

    def _drive(
        self, context: Context, gateway: Gateway, fleet: ServerFleet, token: int, state: RolloutState
    ) -> dict[str, Any]:
        while True:
            if state.phase == "rolled_back":
                # Going back waits for nothing, not even for being recorded; going on does.
                self._apply(gateway, token, state)
                evidence_uri = self._publish(context, fleet, state)
            else:
                evidence_uri = self._publish(context, fleet, state)
                self._apply(gateway, token, state)
            if state.finished:
                return self._finish(context, gateway, token, state, evidence_uri)
            if self.deferrable:
                self.defer(trigger=self._trigger(context, token, state), method_name="resume")
            state = self._wait(gateway, token, state)

    def _publish(self, context: Context, fleet: ServerFleet, state: RolloutState) -> str:
        """Record the decisions and show them; return where the last one is recorded."""
        from airflow_mlops.hooks.rollout_evidence import record_decisions
        from airflow_mlops.rollout.html import render_html

        store = ArtifactStore.from_config()
        evidence_uri = record_decisions(store, origin(context), fleet, state)
        publish_report(context, store, "rollout", render_html(state, evidence_uri=evidence_uri))
        return evidence_uri

    def _apply(self, gateway: Gateway, token: int, state: RolloutState) -> None:
        from airflow_mlops.rollout.state import intended_weights

        self.log.info("Route %s: %s — %s", self.model_name, intended_weights(state), state.reason)
        try:
            gateway.apply(state, token=token)
        except StaleWriteError as error:
            if state.finished:
                raise
            gateway.held(self.model_name, token=token)
            # A foreign edit: the looks that follow see it too, and give up when it stays.
            self.log.warning("%s", error)

    def _trigger(self, context: Context, token: int, state: RolloutState) -> RolloutTrigger:
        from airflow_mlops.triggers.rollout import RolloutTrigger

        who = origin(context)
        return RolloutTrigger(
            gateway_conn_id=self.gateway_conn_id,
            route=self.model_name,
            token=token,
            look_seconds=state.spec.look_seconds,
            task={
                "dag_id": who.dag_id,
                "run_id": who.run_id,
                "task_id": who.task_id,
                "map_index": who.map_index,
            },
        )

    def _wait(self, gateway: Gateway, token: int, state: RolloutState) -> RolloutState:
        """Look from this process until something has to be done."""
        from airflow_mlops.rollout.plan import describe

        while True:
            time.sleep(state.spec.look_seconds)
            state, plan = gateway.look(self.model_name, token=token)
            self.log.info("%s", describe(plan))
            if plan.has_effects:
                return state

    def _finish(
        self, context: Context, gateway: Gateway, token: int, state: RolloutState, evidence_uri: str
    ) -> dict[str, Any]:
        from airflow_mlops.rollout.state import intended_weights

        result = {
            "outcome": state.phase,
            "candidate": state.candidate,
            "stable": state.stable,
            "weights": intended_weights(state),
            "reason": state.reason,
            "history": encode(state.history),
            "evidence_uri": evidence_uri,
        }
        context["ti"].xcom_push(key="return_value", value=result)
        gateway.store.release(self.model_name, token=token)
        self._held_token = None
        if state.phase == "rolled_back":
            raise AirflowFailException(f"rolled back to {state.stable}: {state.reason}")
        return result

    @contextmanager
    def _unjudged_never_stays(self, context: Context, gateway: Gateway, token: int) -> Iterator[None]:
        """Give the traffic back when an error ends the task for good; a retry takes the rollout up instead."""
        self._held_token = token
        try:
            yield
        except TaskDeferred:
            raise
        except Exception as error:
            ti = context["ti"]
            permanent = isinstance(error, (MLOpsError, AirflowFailException)) and not isinstance(
                error, TransientAdapterError
            )
            if permanent or ti.try_number > ti.max_tries:
                self._give_back(gateway, token, f"the task failed: {error}")
            raise

    def _give_back(self, gateway: Gateway, token: int, reason: str) -> None:
        """Return all traffic to the stable model, unless this task no longer holds the route."""
        try:
            if gateway.give_back(self.model_name, token=token, reason=reason):
                self.log.error("All traffic of %s went back: %s", self.model_name, reason)
        except MLOpsError:
            # The error that ends the task is the one to show; this one must not hide it.
            self.log.exception("Route %s: the traffic could not be given back", self.model_name)
