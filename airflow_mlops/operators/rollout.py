"""The operator that lets a new model version take over, if it deserves to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import Context
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    TaskDeferralError,
    TaskDeferralTimeout,
    TaskDeferred,
)

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
from airflow_mlops.links.base import push_link, report_url
from airflow_mlops.links.endpoint import EndpointLink
from airflow_mlops.links.pages import EvidenceLink, ModelLink
from airflow_mlops.links.report import ReportLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

# Reading a DAG needs none of the domain, so it is imported where it is used.
if TYPE_CHECKING:
    from airflow_mlops.hooks.gateway import ModelGatewayHook
    from airflow_mlops.operators.rollout_notices import Notices
    from airflow_mlops.rollout.look import Gateway
    from airflow_mlops.rollout.ports import Lease, ServerFleet
    from airflow_mlops.rollout.spec import RolloutSpec
    from airflow_mlops.rollout.state import RolloutState
    from airflow_mlops.triggers.events import RolloutEvent

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

    Where a step waits for approval, the task shows Airflow's form with the evidence as a table, and the trigger goes
    on judging: harm rolls back whatever anybody answers. ``airflow mlops rollout approve`` approves as well; a
    rejection rolls back, and so does a question that nobody answers in the step's time. Only a task that waits without
    a worker shows a form: without ``deferrable`` the command approves.

    Returns ``outcome`` (``promoted``), ``weights``, ``reason``, ``history`` (at, weights, verdict, reason,
    step_index) and ``evidence_uri``. When the traffic went back, the same facts are pushed with ``outcome``
    ``rolled_back``, and the task fails without a retry with the reason as its message.

    :param model_name: the model, which is the route (templated)
    :param candidate: name of the model server that shall take over; it has to be ready (templated)
    :param spec: mapping with the fields of :class:`~airflow_mlops.rollout.spec.RolloutSpec`, or path of a YAML file
        with it; relative paths begin at the DAG's folder (templated)
    :param gateway_conn_id: connection of the gateway
    :param deferrable: whether to wait in the triggerer; otherwise the task keeps its worker
    :param assigned_users: who may approve by the form, each with ``id`` and ``name`` as Airflow's auth manager knows
        them; empty for everybody who may act on the DAG (templated)
    :param dry_run: say what the rollout would do and change nothing; the task succeeds, and returns ``outcome``
        ``dry_run`` and the plan (templated)
    :param supersede: abort the rollout that holds the route, and begin then; otherwise the task fails and names it
        (templated)
    :param on_step: notifiers, or other callables that take the context, called after the traffic was moved to a step,
        and when a step begins to wait for approval; templates find ``rollout`` with ``route``, ``candidate``,
        ``stable``, ``phase``, ``step``, ``steps``, ``awaits_approval``, ``weights``, ``verdict``, ``reason``,
        ``sentence``, ``evidence_uri`` and ``report_address``. One that fails is logged and changes nothing
    :param on_rollback: the same, called after all traffic went back, by this task; perhaps again after a crash
    :param on_promotion: the same, called after the candidate got all traffic
    """

    template_fields: Sequence[str] = (
        *("model_name", "candidate", "spec", "gateway_conn_id", "assigned_users", "dry_run", "supersede"),
    )
    operator_extra_links = (ReportLink(), EndpointLink(), EvidenceLink(), ModelLink())
    ui_color = "#e8f5e9"

    def __init__(
        self,
        *,
        model_name: str,
        candidate: str,
        spec: str | Path | Mapping[str, Any],
        gateway_conn_id: str = MODEL_GATEWAY,
        deferrable: bool = True,
        assigned_users: Sequence[Mapping[str, str]] = (),
        dry_run: bool | str = False,
        supersede: bool | str = False,
        on_step: Notices = (),
        on_rollback: Notices = (),
        on_promotion: Notices = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.candidate = candidate
        self.spec = spec
        self.gateway_conn_id = gateway_conn_id
        self.deferrable = deferrable
        self.assigned_users = assigned_users
        # Airflow's own method of this name only logs rendered templates, and Airflow never calls it.
        self.dry_run = dry_run  # type: ignore[assignment,method-assign]
        self.supersede = supersede
        self.on_step = on_step
        self.on_rollback = on_rollback
        self.on_promotion = on_promotion
        self._held_token: int | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Take the lease, begin or resume, and drive the rollout to its end."""
        from airflow_mlops.hooks.gateway import ModelGatewayHook
        from airflow_mlops.rollout.spec import RolloutSpec
        from airflow_mlops.rollout.start import start

        with airflow_errors():
            spec = decode(RolloutSpec, load_document(self.spec, field="spec", folder=dag_folder(self)), where="spec")
            hook = ModelGatewayHook(self.gateway_conn_id)
            if self._wants("dry_run"):
                return self._preview(hook, spec)
            self._check()
            # Asked for before anything is moved: a rollout that cannot be recorded does not begin.
            ArtifactStore.from_config()
            push_link(context, EndpointLink(), f"{hook.endpoint}/v2/models/{self.model_name}")
            gateway, fleet = hook.gateway(), hook.fleet()
            lease = self._acquire(context, gateway, spec)
            with self._unjudged_never_stays(context, gateway, lease.token):
                request = self._request(context)
                state = start(
                    gateway, fleet, lease, route=self.model_name, candidate=self.candidate, spec=spec, request=request
                )
                if state.spec != spec:
                    self.log.warning("The spec has changed; the rollout under way ends by the rules that it began with")
                return self._drive(context, gateway, fleet, lease.token, state)

    def resume(self, context: Context, event: Any, token: int | None = None, started_at: float = 0.0) -> dict[str, Any]:
        """Carry out what the trigger found, or what a person answered, then wait again or end.

        :param token: the lease's token
        :param started_at: when the rollout began
        """
        from airflow_mlops.hooks.gateway import ModelGatewayHook
        from airflow_mlops.operators.rollout_approval import read_event

        with airflow_errors():
            found = read_event(event, token, started_at)
            self.log.info("%s", found.message)
            hook = ModelGatewayHook(self.gateway_conn_id)
            gateway, fleet = hook.gateway(), hook.fleet()
            with self._unjudged_never_stays(context, gateway, found.token):
                try:
                    state = self._decide(gateway, found)
                except StaleWriteError as error:
                    return self._end_elsewhere(context, gateway, fleet, found, error)
                return self._drive(context, gateway, fleet, found.token, state)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on where the task fell asleep; where Airflow woke it only to fail, give the traffic back.

        So it does when the waiting takes longer than ``execution_timeout``, or its trigger cannot be run.
        """
        from airflow_mlops.hooks.gateway import ModelGatewayHook

        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as error:
            gateway = ModelGatewayHook(self.gateway_conn_id).gateway()
            lease = gateway.store.load(self.model_name)
            if lease is None or lease.holder != self._holder(context):
                raise
            with self._unjudged_never_stays(context, gateway, lease.token):
                raise AirflowException(f"the task could not wait any longer: {error}") from error

    def on_kill(self) -> None:
        """Give the traffic back when the task is ended while it has a worker."""
        from airflow_mlops.hooks.gateway import ModelGatewayHook

        if self._held_token is None:
            return
        gateway = ModelGatewayHook(self.gateway_conn_id).gateway()
        self._give_back(gateway, self._held_token, "the task was ended while it moved traffic")

    def _wants(self, name: str) -> bool:
        value = getattr(self, name)
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if not isinstance(value, bool):
            raise SpecificationError(name, value, "true or false")
        return value

    def _check(self) -> None:
        from airflow_mlops.operators.questions import check_users
        from airflow_mlops.operators.rollout_notices import check_notices

        check_users(self.assigned_users)
        for name in ("on_step", "on_rollback", "on_promotion"):
            check_notices(name, getattr(self, name))

    def _preview(self, hook: ModelGatewayHook, spec: RolloutSpec) -> dict[str, Any]:
        from airflow_mlops.rollout.preview import preview, tell

        found = preview(hook.gateway(), hook.fleet(), route=self.model_name, candidate=self.candidate, spec=spec)
        for line in tell(found):
            self.log.info("%s", line)
        return {"outcome": "dry_run", **encode(found)}

    def _decide(self, gateway: Gateway, found: RolloutEvent) -> RolloutState:
        """Return the stored rollout, after what was asked for was written into it."""
        from airflow_mlops.operators.rollout_approval import carry_out_answer

        if found.kind == "lost":
            raise StaleWriteError(found.message)
        if found.kind == "broken":
            reason = f"the rollout could not be judged: {found.message}"
            return gateway.abort(self.model_name, token=found.token, reason=reason)
        if found.kind == "answered":
            self.log.info("%s", carry_out_answer(gateway, self.model_name, found))
        return gateway.held(self.model_name, token=found.token)

    def _end_elsewhere(
        self, context: Context, gateway: Gateway, fleet: ServerFleet, found: RolloutEvent, error: StaleWriteError
    ) -> dict[str, Any]:
        """End with the reason for which somebody else gave the traffic back: a newer rollout, or the watchdog."""
        from airflow_mlops.operators.rollout_report import publish_rollout, push_result

        lease = gateway.store.load(self.model_name)
        left = () if lease is None else (lease.state, lease.previous)
        for state in left:
            if state is not None and state.phase == "rolled_back" and state.started_at == found.started_at:
                evidence_uri = publish_rollout(context, fleet, state)
                self._tell(context, state, evidence_uri)
                return self._end(state, push_result(context, state, evidence_uri))
        raise error

    def _holder(self, context: Context) -> str:
        who = origin(context)
        return "/".join((who.dag_id, who.run_id, who.task_id, str(who.map_index)))

    def _request(self, context: Context) -> str:
        # A retry is the same request; a task that a person cleared has other tries left, and asks anew.
        return f"{self._holder(context)}/{context['ti'].max_tries}"

    def _acquire(self, context: Context, gateway: Gateway, spec: RolloutSpec) -> Lease:
        holder = self._holder(context)
        seconds = spec.max_unknown_seconds + _LEASE_RESERVE_SECONDS
        try:
            if self._wants("supersede"):
                from airflow_mlops.rollout.by_hand import take_over

                lease = take_over(
                    gateway, self.model_name, holder=holder, lease_seconds=seconds, request=self._request(context)
                )
            else:
                lease = gateway.store.acquire(self.model_name, holder, lease_seconds=seconds)
        except LeaseHeldError as error:
            # Waiting would hide that two pipelines release the same model.
            hint = "it superseded this one" if self._wants("supersede") else "supersede aborts it first"
            raise AirflowFailException(f"{error}; {hint}") from error
        self._held_token = lease.token
        return lease

    def _drive(
        self, context: Context, gateway: Gateway, fleet: ServerFleet, token: int, state: RolloutState
    ) -> dict[str, Any]:
        from airflow_mlops.operators.rollout_report import publish_rollout, push_result
        from airflow_mlops.operators.rollout_wait import wait_here

        while True:
            if state.phase == "rolled_back":
                # Going back waits for nothing, not even for being recorded; going on does.
                self._apply(gateway, token, state)
                evidence_uri = ""
                try:
                    evidence_uri = publish_rollout(context, fleet, state)
                finally:
                    self._tell(context, state, evidence_uri)
            else:
                evidence_uri = publish_rollout(context, fleet, state)
                self._apply(gateway, token, state)
                if evidence_uri or state.finished:
                    self._tell(context, state, evidence_uri)
            if state.finished:
                result = push_result(context, state, evidence_uri)
                gateway.store.release(self.model_name, token=token)
                self._held_token = None
                return self._end(state, result)
            if self.deferrable:
                self._sleep(context, token, state)
            state = wait_here(context, gateway, state, token=token, log=self.log)

    def _sleep(self, context: Context, token: int, state: RolloutState) -> NoReturn:
        from airflow_mlops.operators.questions import check_users
        from airflow_mlops.operators.rollout_wait import trigger_that_looks

        trigger = trigger_that_looks(
            context,
            state,
            gateway_conn_id=self.gateway_conn_id,
            token=token,
            assigned_users=check_users(self.assigned_users),
        )
        self.defer(trigger=trigger, method_name="resume", kwargs={"token": token, "started_at": state.started_at})

    def _tell(self, context: Context, state: RolloutState, evidence_uri: str) -> None:
        """Call the notifiers; whatever they do, the rollout goes on."""
        from airflow_mlops.operators.rollout_notices import notify, rollout_facts

        notices = {"progressing": self.on_step, "promoted": self.on_promotion, "rolled_back": self.on_rollback}
        address = report_url(origin(context), "rollout")
        notify(context, notices[state.phase], rollout_facts(state, evidence_uri=evidence_uri, report_address=address))

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

    def _end(self, state: RolloutState, result: dict[str, Any]) -> dict[str, Any]:
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
                state = self._give_back(gateway, token, f"the task failed: {error}")
                if state is not None:
                    self._tell(context, state, "")
            raise

    def _give_back(self, gateway: Gateway, token: int, reason: str) -> RolloutState | None:
        """Return all traffic to the stable model, unless this task no longer holds the route; None if it did not."""
        from airflow_mlops.hooks.metrics import in_task

        try:
            if gateway.give_back(self.model_name, token=token, reason=reason):
                self.log.error("All traffic of %s went back: %s", self.model_name, reason)
                lease = gateway.store.load(self.model_name)
                if lease is not None and lease.state is not None:
                    in_task().ended(lease.state)
                    return lease.state
        except MLOpsError:
            # The error that ends the task is the one to show; this one must not hide it.
            self.log.exception("Route %s: the traffic could not be given back", self.model_name)
        return None
