"""Promoting and rolling back versions of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import ContractError
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.defaults import MLFLOW
from airflow_mlops.links.mlflow import MLflowRunLink
from airflow_mlops.links.pages import EvidenceLink, ModelLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.governance.versions import ModelVersion
    from airflow_mlops.verdict import CheckResult

__all__ = ["PromoteModelOperator", "RollBackModelOperator"]

_CLIENTS = ("mlflow", "mlflow-skinny")


class PromoteModelOperator(MLOpsOperator):
    """Make a version the ``champion``; a retry finishes what the first try began.

    Returns the version: ``{"name", "version", "model", "tags", "run_id"}``.

    :param model_name: name of the registered model (templated)
    :param version: number of the version (templated)
    :param expected_champion: the version that is champion now, None for none; if it is another, somebody else
        released meanwhile and the task fails. ``any`` does not ask (templated)
    :param rollout: what ``CanaryRolloutOperator`` returned; its outcome must be ``promoted``, and the record refers
        to its evidence (templated)
    :param approval: what ``ApproveReleaseOperator`` returned; people must have approved this version, and the approval
        must not be over; None asks for none (templated)
    :param mlflow_conn_id: connection of type ``mlflow``
    """

    template_fields: Sequence[str] = ("model_name", "version", "expected_champion", "rollout", "approval")
    operator_extra_links = (MLflowRunLink(), EvidenceLink(), ModelLink())

    def __init__(
        self,
        *,
        model_name: str,
        version: str,
        expected_champion: str | None = "any",
        rollout: Mapping[str, Any] | None = None,
        approval: Mapping[str, Any] | None = None,
        mlflow_conn_id: str = MLFLOW,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.version = version
        self.expected_champion = expected_champion
        self.rollout = rollout
        self.approval = approval
        self.mlflow_conn_id = mlflow_conn_id

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Verify the version's files, then move the alias."""
        from airflow_mlops.governance.lineage import files_check
        from airflow_mlops.governance.release import promote
        from airflow_mlops.governance.versions import PROMOTION_EVIDENCE
        from airflow_mlops.hooks.mlflow import MLflowHook
        from airflow_mlops.operators.provenance import show_run
        from airflow_mlops.operators.record import record
        from airflow_mlops.verdict import Verdict

        if self.rollout and self.rollout.get("outcome") != "promoted":
            raise ContractError(f"rollout: its outcome is {self.rollout.get('outcome')!r}; only 'promoted' promotes")
        store, hook = ArtifactStore.from_config(), MLflowHook(self.mlflow_conn_id)
        registry = hook.registry()
        found = registry.version(self.model_name, str(self.version))
        show_run(context, hook, found)
        store.localize(found.model)
        approved = self._approved(store, found)
        release = promote(registry, self.model_name, str(self.version), expected=self.expected_champion)
        if not release.version.tags.get(PROMOTION_EVIDENCE):
            _, evidence = record(
                context,
                store,
                decision="promotion",
                subject=self.model_name,
                verdict=Verdict.PASS,
                checks=(files_check(found.model), *approved),
                references={
                    "model": found.model,
                    "rollout": self.rollout or {},
                    **({"approval": self.approval} if self.approval else {}),
                },
                notes={"version": found.version, "previous_champion": release.previous},
                distributions=_CLIENTS,
            )
            registry.set_tags(self.model_name, found.version, {PROMOTION_EVIDENCE: evidence})
        self.log.info("Champion of %s: version %s after %s", self.model_name, found.version, release.previous)
        return dict(encode(registry.version(self.model_name, found.version)))

    def _approved(self, store: ArtifactStore, version: ModelVersion) -> tuple[CheckResult, ...]:
        from airflow_mlops.clock import SystemClock
        from airflow_mlops.governance.approval import approval_check
        from airflow_mlops.operators.provenance import gate_evidence

        if self.approval is None:
            return ()
        evidence = gate_evidence(store, self.approval, name="approval")
        if evidence is None:
            raise ContractError("approval: it is empty; hand over what ApproveReleaseOperator returned")
        return (approval_check(evidence, version.model.digest, version.version, now=SystemClock().now()),)


class RollBackModelOperator(MLOpsOperator):
    """Take a version out: it loses its aliases, and if it was champion the one before it leads again.

    With a reason, given or recorded by this run's own decision, the version is rejected and can never be promoted. A
    run that failed before anything was decided about the model only withdraws it: it may be released again.
    Returns the version: ``{"name", "version", "model", "tags", "run_id"}``.

    :param model_name: name of the registered model (templated)
    :param version: number of the version (templated)
    :param reason: one sentence; None takes it from the newest decision of this run (templated)
    :param mlflow_conn_id: connection of type ``mlflow``
    """

    template_fields: Sequence[str] = ("model_name", "version", "reason")
    operator_extra_links = (MLflowRunLink(), EvidenceLink(), ModelLink())

    def __init__(
        self,
        *,
        model_name: str,
        version: str,
        reason: str | None = None,
        mlflow_conn_id: str = MLFLOW,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.version = version
        self.reason = reason
        self.mlflow_conn_id = mlflow_conn_id

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Tag the version, then move the aliases."""
        from airflow_mlops.governance.release import roll_back
        from airflow_mlops.governance.versions import REJECTED, REJECTION_EVIDENCE, WITHDRAWN
        from airflow_mlops.hooks.mlflow import MLflowHook
        from airflow_mlops.operators.provenance import rejection_reason, show_run
        from airflow_mlops.operators.record import record
        from airflow_mlops.verdict import CheckResult, Verdict

        store, hook, who = ArtifactStore.from_config(), MLflowHook(self.mlflow_conn_id), origin(context)
        registry = hook.registry()
        decided = self.reason or rejection_reason(store, self.model_name, who.run_id)
        reason = decided or f"run {who.run_id} failed before a decision about the model was recorded"
        release = roll_back(registry, self.model_name, str(self.version), reason=reason, reject=decided is not None)
        version = release.version
        show_run(context, hook, version)
        if not version.tags.get(REJECTION_EVIDENCE):
            said = version.tags.get(REJECTED) or version.tags[WITHDRAWN]
            verdict = Verdict.FAIL if version.tags.get(REJECTED) else Verdict.ERROR
            _, evidence = record(
                context,
                store,
                decision="promotion",
                subject=version.name,
                verdict=verdict,
                checks=(CheckResult(name="release", verdict=verdict, reason=said),),
                references={"model": version.model},
                notes={"version": version.version, "champion": release.champion, "reason": said},
                distributions=_CLIENTS,
            )
            registry.set_tags(version.name, version.version, {REJECTION_EVIDENCE: evidence})
        self.log.warning("Took %s version %s out: %s", version.name, version.version, reason)
        return dict(encode(registry.version(version.name, version.version)))
