"""Registering a model, with everything that it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.defaults import MLFLOW
from airflow_mlops.links.mlflow import MLflowRunLink
from airflow_mlops.links.pages import EvidenceLink, ModelLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.governance.versions import ModelVersion, Needed
    from airflow_mlops.verdict import CheckResult

__all__ = ["RegisterModelOperator"]

_CLIENTS = ("mlflow", "mlflow-skinny")


class RegisterModelOperator(MLOpsOperator):
    """Put a model into the registry as ``challenger``, with its files and everything that it comes from.

    The version's tags name the datasets, the image, the commit, the DAG run, the evaluation and the gate behind it, the
    libraries it was saved with, each with its exact version, and its signature: the names and types of its columns.
    A retry finds the version that the first try made. Every asset among the outlets gets an event with the version.
    Returns the version: ``{"name", "version", "model", "tags", "run_id"}``.

    :param model_name: name of the registered model (templated)
    :param model: the model's reference, as training returned it (templated)
    :param evaluation: what ``EvaluateModelOperator`` returned; its numbers become the version's metrics (templated)
    :param gate: what ``ModelGateOperator`` returned; its evidence must be about this model and must have passed
        (templated)
    :param datasets: role to one dataset reference or a list of them (templated)
    :param image: the image in which the model was trained: an encoded ImageRef, ``name@sha256:…`` or ``sha256:…``
        (templated)
    :param git_revision: the commit of the training's code; None takes that of the DAG's bundle or checkout (templated)
    :param needs: what the version must not lack, else the task fails: any of ``datasets``, ``evaluation``, ``gate``,
        ``git_revision``, ``image``, ``requirements`` and ``signature``
    :param mlflow_run_id: the tracking run that trained the model; None opens one for the registration (templated)
    :param mlflow_conn_id: connection of type ``mlflow``
    :param alias: ``challenger``, or None to set no alias
    """

    template_fields: Sequence[str] = (
        *("model_name", "model", "evaluation", "gate", "datasets", "image", "git_revision", "mlflow_run_id"),
    )
    operator_extra_links = (MLflowRunLink(), EvidenceLink(), ModelLink())

    def __init__(
        self,
        *,
        model_name: str,
        model: Mapping[str, Any],
        evaluation: Mapping[str, Any] | None = None,
        gate: Mapping[str, Any] | None = None,
        datasets: Mapping[str, Any] | None = None,
        image: str | Mapping[str, Any] | None = None,
        git_revision: str | None = None,
        needs: Sequence[Needed] = ("requirements", "signature"),
        mlflow_run_id: str | None = None,
        mlflow_conn_id: str = MLFLOW,
        alias: str | None = "challenger",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.model = model
        self.evaluation = evaluation
        self.gate = gate
        self.datasets = datasets
        self.image = image
        self.git_revision = git_revision
        self.needs = needs
        self.mlflow_run_id = mlflow_run_id
        self.mlflow_conn_id = mlflow_conn_id
        self.alias = alias

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Verify the files and the gate's evidence, then register."""
        from airflow_mlops.governance.contents import check_needed, contents_tags, image_tags
        from airflow_mlops.governance.lineage import files_check, gate_check, lineage_tags, summary_metrics
        from airflow_mlops.governance.release import challenge
        from airflow_mlops.governance.versions import REGISTRATION_EVIDENCE
        from airflow_mlops.hooks.mlflow import MLflowHook, origin_key, origin_tags
        from airflow_mlops.operators.provenance import announce, code_tags, gate_evidence, read_contents, show_run
        from airflow_mlops.references import ModelRef

        if self.alias not in (None, "challenger"):
            raise SpecificationError("alias", self.alias, "'challenger' or None; PromoteModelOperator makes champions")
        store, hook, who = ArtifactStore.from_config(), MLflowHook(self.mlflow_conn_id), origin(context)
        model = decode(ModelRef, self.model, where="model")
        files = store.localize(model)
        lineage = {
            **origin_tags(who),
            **code_tags(context, self.git_revision or None),
            **image_tags(self.image),
            **lineage_tags(self.datasets, self.evaluation, self.gate),
            **contents_tags(read_contents(files)),
        }
        gate = gate_check(gate_evidence(store, self.gate), model)
        checks = (files_check(model), *check_needed(lineage, self.needs), *gate)
        registry = hook.registry()
        version = registry.register(
            self.model_name,
            model,
            files,
            idempotency_key=digest_of([origin_key(who), model.digest]),
            lineage=lineage,
            metrics=summary_metrics(self.evaluation),
            run_id=self.mlflow_run_id,
        )
        show_run(context, hook, version)
        if self.alias:
            challenge(registry, version)
        evidence = version.tags.get(REGISTRATION_EVIDENCE)
        if not evidence:
            evidence = self._record(context, store, version, checks)
            registry.set_tags(version.name, version.version, {REGISTRATION_EVIDENCE: evidence})
        announce(context, self.outlets, version, evidence)
        self.log.info("Registered %s version %s (%s)", version.name, version.version, model.digest)
        return dict(encode(version))

    def _record(
        self, context: Context, store: ArtifactStore, version: ModelVersion, checks: Sequence[CheckResult]
    ) -> str:
        from airflow_mlops.operators.record import record
        from airflow_mlops.verdict import Verdict

        _, evidence = record(
            context,
            store,
            decision="registration",
            subject=version.name,
            verdict=Verdict.PASS,
            checks=checks,
            references={"model": version.model, "datasets": self.datasets or {}, "gate": self.gate or {}},
            notes={"version": version.version, "run_id": version.run_id, "alias": self.alias},
            distributions=_CLIENTS,
        )
        return evidence
