"""The operator that asks a candidate what the stable model is asked, before it gets any traffic."""

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
    SpecificationError,
    StaleWriteError,
    TransientAdapterError,
)
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.defaults import MODEL_GATEWAY
from airflow_mlops.hooks.documents import dag_folder, load_document
from airflow_mlops.links.pages import EvidenceLink, ModelLink
from airflow_mlops.links.report import ReportLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors, conclude

# Reading a DAG needs none of the domain, so it is imported where it is used.
if TYPE_CHECKING:
    from airflow_mlops.hooks.gateway import ModelGatewayHook
    from airflow_mlops.hooks.shadow import ShadowLogs
    from airflow_mlops.rollout.mirroring import Shadowing
    from airflow_mlops.rollout.ports import ServerFleet
    from airflow_mlops.rollout.shadow import ShadowState
    from airflow_mlops.rollout.shadow_spec import ShadowSpec

__all__ = ["ShadowRolloutOperator"]


class ShadowRolloutOperator(MLOpsOperator):
    """Let a candidate answer the stable model's requests, and compare the answers in pairs; nobody gets its answers.

    In mode ``mirror`` the gateway copies live requests to the candidate. Its answers are dropped, and it can neither
    fail nor slow a request. The task waits until the pairs decide: how many predictions differ, whether copies fail
    more often, whether the candidate is slower and, where labels have arrived, who was right. It holds the route's
    lease, so a canary and a shadow exclude each other. The copies end with the task, however it ends.

    In mode ``replay`` logged requests are sent to the candidate's server directly, before it has anything to do with
    the gateway, and compared with what was answered then.

    The task fails without a retry when the candidate answers as it may not, and also when that stayed undecided, for
    example because there were no requests: no data never passes. Returns ``outcome`` (``passed``, ``failed`` or
    ``inconclusive``), ``verdict``, ``reason``, ``mode``, ``candidate``, ``stable``, ``pairs``, ``checks`` and
    ``evidence_uri``; nothing of any row.

    :param model_name: the model, which is the route (templated)
    :param candidate: name of the model server that shall answer too; it has to be ready (templated)
    :param spec: mapping with the fields of :class:`~airflow_mlops.rollout.shadow_spec.ShadowSpec`, or path of a YAML
        file with it; relative paths begin at the DAG's folder (templated)
    :param predictions_uri: folder of the prediction logs, with a folder per model and version (templated)
    :param labels_uri: folder of the labels, with a folder per model; None if the spec judges none (templated)
    :param mode: ``mirror`` or ``replay`` (templated)
    :param replay: mapping with the fields of :class:`~airflow_mlops.rollout.replay.ReplaySpec`: which logged requests,
        and how fast (templated)
    :param stable: name of the model server to compare with; None takes the one with the traffic. Only a replay may
        name another (templated)
    :param gateway_conn_id: connection of the gateway
    :param deferrable: whether to wait in the triggerer; otherwise the task keeps its worker
    """

    template_fields: Sequence[str] = (
        "model_name",
        "candidate",
        "spec",
        "predictions_uri",
        "labels_uri",
        "mode",
        "replay",
        "stable",
        "gateway_conn_id",
    )
    operator_extra_links = (ReportLink(), EvidenceLink(), ModelLink())
    ui_color = "#eceff1"

    def __init__(
        self,
        *,
        model_name: str,
        candidate: str,
        spec: str | Path | Mapping[str, Any],
        predictions_uri: str,
        labels_uri: str | None = None,
        mode: str = "mirror",
        replay: Mapping[str, Any] | None = None,
        stable: str | None = None,
        gateway_conn_id: str = MODEL_GATEWAY,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.candidate = candidate
        self.spec = spec
        self.predictions_uri = predictions_uri
        self.labels_uri = labels_uri
        self.mode = mode
        self.replay = replay
        self.stable = stable
        self.gateway_conn_id = gateway_conn_id
        self.deferrable = deferrable
        self._held: tuple[Shadowing, int] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Replay, or begin or take up a shadow and drive it to its end."""
        from airflow_mlops.hooks.gateway import ModelGatewayHook
        from airflow_mlops.rollout.shadow_spec import ShadowSpec

        with airflow_errors():
            spec = decode(ShadowSpec, load_document(self.spec, field="spec", folder=dag_folder(self)), where="spec")
            if spec.labels is not None and self.labels_uri is None:
                raise SpecificationError(
                    "labels_uri", None, "the folder of the labels, because spec.labels judges them"
                )
            # Asked for before anything is done: what cannot be recorded does not begin.
            store = ArtifactStore.from_config()
            hook = ModelGatewayHook(self.gateway_conn_id)
            if self.mode == "replay":
                return self._replay(context, store, hook, spec)
            if self.mode != "mirror":
                raise SpecificationError("mode", self.mode, "'mirror' or 'replay'")
            return self._mirror(context, store, hook, spec)

    def resume(self, context: Context, event: Any) -> dict[str, Any]:
        """Carry out what the trigger found, then wait again or end."""
        from airflow_mlops.hooks.gateway import ModelGatewayHook
        from airflow_mlops.rollout.shadow import ShadowState, end
        from airflow_mlops.triggers.events import from_payload
        from airflow_mlops.triggers.shadow import ShadowEvent

        with airflow_errors():
            found = from_payload(ShadowEvent, event)
            self.log.info("%s", found.message)
            if found.kind == "lost":
                raise StaleWriteError(found.message)
            store, hook = ArtifactStore.from_config(), ModelGatewayHook(self.gateway_conn_id)
            shadowing, state = self._shadowing(context, hook), decode(ShadowState, found.state)
            if found.kind == "broken":
                state = end(state, f"the shadow could not be judged: {found.message}")
            with self._never_copies_on(context, shadowing, state.token):
                return self._drive(context, store, hook, shadowing, state)

    def on_kill(self) -> None:
        """End the copies when the task is ended while it has a worker."""
        if self._held is not None:
            self._give_back(*self._held)

    def _replay(
        self, context: Context, store: ArtifactStore, hook: ModelGatewayHook, spec: ShadowSpec
    ) -> dict[str, Any]:
        from airflow_mlops.hooks.shadow import folder_of
        from airflow_mlops.hooks.shadow_replay import replay_logged
        from airflow_mlops.operators.shadow_finding import Finding, publish_finding
        from airflow_mlops.rollout.mirroring import stable_of
        from airflow_mlops.rollout.replay import ReplaySpec, judge_replay, outcome

        which, fleet = decode(ReplaySpec, self.replay or {}, where="replay"), hook.fleet()
        stable = self.stable or stable_of(hook.router(), self.model_name, self.candidate)
        pairs = replay_logged(
            fleet,
            self.model_name,
            candidate=self.candidate,
            stable=stable,
            spec=spec,
            which=which,
            predictions=folder_of(self.predictions_uri, "predictions_uri"),
            labels=None if self.labels_uri is None else folder_of(self.labels_uri, "labels_uri"),
        )
        checks = judge_replay(pairs, spec)
        verdict, reason = outcome(checks, pairs.pairs, spec)
        found = Finding(
            model_name=self.model_name,
            mode="replay",
            candidate=self.candidate,
            stable=stable,
            spec=spec,
            verdict=verdict,
            reason=reason,
            checks=checks,
            pairs=pairs,
        )
        result = publish_finding(context, store, fleet, found, notes={"replay": encode(which)})
        conclude(verdict, f"{self.candidate} beside {stable}: {reason}")
        return result

    def _mirror(
        self, context: Context, store: ArtifactStore, hook: ModelGatewayHook, spec: ShadowSpec
    ) -> dict[str, Any]:
        from airflow_mlops.hooks.shadow import load_shadow, save_shadow
        from airflow_mlops.rollout.mirroring import mirror_router

        if self.replay is not None:
            raise SpecificationError("replay", self.replay, "None in mode 'mirror', which replays nothing")
        shadowing = self._shadowing(context, hook)
        mirror_router(shadowing.gateway.router)
        try:
            lease = shadowing.acquire(spec)
        except LeaseHeldError as error:
            # Waiting would hide that two pipelines release the same model.
            raise AirflowFailException(str(error)) from error
        with self._never_copies_on(context, shadowing, lease.token):
            state = load_shadow(store, shadowing.holder, self.model_name, token=lease.token)
            if state is None:
                state = shadowing.begin(hook.fleet(), lease, candidate=self.candidate, spec=spec)
                if self.stable not in (None, state.stable):
                    raise SpecificationError("stable", self.stable, f"{state.stable!r}, which has the traffic, or None")
                save_shadow(store, shadowing.holder, state)
            elif state.candidate != self.candidate:
                raise SpecificationError("candidate", self.candidate, f"{state.candidate!r}, whose shadow is under way")
            return self._drive(context, store, hook, shadowing, state)

    def _drive(
        self, context: Context, store: ArtifactStore, hook: ModelGatewayHook, shadowing: Shadowing, state: ShadowState
    ) -> dict[str, Any]:
        logs = self._logs(hook.fleet(), state.stable)
        while True:
            shadowing.held(state)
            self._apply(shadowing, state)
            if state.finished:
                return self._finish(context, store, hook.fleet(), shadowing, state)
            if self.deferrable:
                self._defer(context, shadowing, state, logs)
            state = self._wait(shadowing, state, logs)

    def _apply(self, shadowing: Shadowing, state: ShadowState) -> None:
        self.log.info("Route %s: %s — %s", self.model_name, state.phase, state.reason or "begins")
        try:
            shadowing.apply(state)
        except StaleWriteError as error:
            if state.finished:
                raise
            shadowing.held(state)
            # A foreign edit: the looks that follow see it too, and give up when it stays.
            self.log.warning("%s", error)

    def _defer(self, context: Context, shadowing: Shadowing, state: ShadowState, logs: ShadowLogs) -> None:
        from airflow_mlops.triggers.shadow import ShadowTrigger

        who = origin(context)
        trigger = ShadowTrigger(
            gateway_conn_id=self.gateway_conn_id,
            holder=shadowing.holder,
            state=encode(state),
            logs=encode(logs),
            task={"dag_id": who.dag_id, "run_id": who.run_id, "task_id": who.task_id, "map_index": who.map_index},
        )
        self.defer(trigger=trigger, method_name="resume")

    def _wait(self, shadowing: Shadowing, state: ShadowState, logs: ShadowLogs) -> ShadowState:
        """Look from this process until something has to be done."""
        from airflow_mlops.rollout.pairing import Pairing

        pairing, log = Pairing(state.spec), logs.open(self.model_name, since=state.started_at)
        while True:
            time.sleep(state.spec.look_seconds)
            state, plan = shadowing.look(state, pairing, log)
            self.log.info("%s: %s", plan.action, plan.reason)
            if plan.action != "hold":
                return state

    def _finish(
        self, context: Context, store: ArtifactStore, fleet: ServerFleet, shadowing: Shadowing, state: ShadowState
    ) -> dict[str, Any]:
        """Record and show, release the route and end the task as the verdict says."""
        from airflow_mlops.hooks.shadow import save_shadow
        from airflow_mlops.operators.shadow_finding import Finding, publish_finding

        # A try after this one finds what was decided.
        save_shadow(store, shadowing.holder, state)
        found = Finding(
            model_name=self.model_name,
            mode="mirror",
            candidate=state.candidate,
            stable=state.stable,
            spec=state.spec,
            verdict=state.verdict,
            reason=state.reason,
            checks=state.checks,
            pairs=state.pairs,
        )
        result = publish_finding(context, store, fleet, found, notes={"started_at": state.started_at})
        shadowing.gateway.store.release(self.model_name, token=state.token)
        self._held = None
        conclude(state.verdict, f"{state.candidate} in the shadow of {state.stable}: {state.reason}")
        return result

    def _shadowing(self, context: Context, hook: ModelGatewayHook) -> Shadowing:
        from airflow_mlops.rollout.mirroring import Shadowing

        who = origin(context)
        holder = "/".join((who.dag_id, who.run_id, who.task_id, str(who.map_index)))
        return Shadowing(gateway=hook.gateway(), route=self.model_name, holder=holder)

    def _logs(self, fleet: ServerFleet, stable: str) -> ShadowLogs:
        from airflow_mlops.hooks.shadow import ShadowLogs, folder_of, version_of

        labels = None if self.labels_uri is None else folder_of(self.labels_uri, "labels_uri")
        return ShadowLogs(
            predictions=str(folder_of(self.predictions_uri, "predictions_uri")),
            labels=None if labels is None else str(labels),
            candidate_version=version_of(fleet, self.model_name, self.candidate),
            stable_version=version_of(fleet, self.model_name, stable),
        )

    @contextmanager
    def _never_copies_on(self, context: Context, shadowing: Shadowing, token: int) -> Iterator[None]:
        """End the copies when an error ends the task for good; a retry takes the shadow up instead."""
        self._held = shadowing, token
        try:
            yield
        except TaskDeferred:
            raise
        except Exception as error:
            ti = context["ti"]
            permanent = isinstance(error, (MLOpsError, AirflowFailException)) and not isinstance(
                error, TransientAdapterError
            )
            if self._held is not None and (permanent or ti.try_number > ti.max_tries):
                self._give_back(shadowing, token)
            raise

    def _give_back(self, shadowing: Shadowing, token: int) -> None:
        try:
            if shadowing.give_back(token):
                self.log.error("The requests of %s are copied no more", self.model_name)
        except MLOpsError:
            # The error that ends the task is the one to show; this one must not hide it.
            self.log.exception("Route %s: the copies could not be ended", self.model_name)
