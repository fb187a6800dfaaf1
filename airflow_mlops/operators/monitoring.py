"""Operators that watch a model in production and ask for the next training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, Context
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, local_path, origin
from airflow_mlops.hooks.documents import dag_folder, load_document
from airflow_mlops.links.pages import EvidenceLink, ModelLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.monitoring.detectors import DriftReport
    from airflow_mlops.monitoring.policy import DriftFinding, RetrainingDecision
    from airflow_mlops.monitoring.spec import MonitorPolicy, ReferenceProfile
    from airflow_mlops.monitoring.window import Window

__all__ = ["DecideRetrainingOperator", "DetectDriftOperator"]


class DetectDriftOperator(MLOpsOperator):
    """Compare a window of predictions and labels with what the model was judged on.

    A finding is not a failure: the task succeeds whether or not drift was shown, and also when too little was seen to
    decide. It fails when nothing could be checked, for example because the log holds no predictions of the window.

    Returns ``verdict`` (``fail`` means drifted), ``drifted``, ``reason``, ``checks``, ``counts``, ``window``,
    ``champion`` and ``evidence_uri``.

    :param model_name: name of the model (templated)
    :param predictions_uri: folder of the prediction logs, with a folder per model and version (templated)
    :param labels_uri: folder of the labels, with a folder per model (templated)
    :param window: prefix of the ids to look at, for example ``2013-06``, or a mapping with ``id_prefix``, ``since``
        and ``until`` in seconds since the epoch (templated)
    :param policy: mapping with the fields of :class:`~airflow_mlops.monitoring.spec.MonitorPolicy`, or path of a YAML
        file with it; relative paths begin at the DAG's folder (templated)
    :param reference: the champion's evaluation report or its block ``reference``, as a mapping or as its URI; may be
        None if no check of the policy compares with it (templated)
    :param champion: version of the model to look at; None looks at all versions together (templated)
    """

    template_fields: Sequence[str] = (
        "model_name",
        "predictions_uri",
        "labels_uri",
        "window",
        "policy",
        "reference",
        "champion",
    )
    operator_extra_links = (EvidenceLink(), ModelLink())
    ui_color = "#e8eaf6"

    def __init__(
        self,
        *,
        model_name: str,
        predictions_uri: str,
        labels_uri: str,
        window: str | Mapping[str, Any],
        policy: str | Path | Mapping[str, Any],
        reference: str | Mapping[str, Any] | None = None,
        champion: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.predictions_uri = predictions_uri
        self.labels_uri = labels_uri
        self.window = window
        self.policy = policy
        self.reference = reference
        self.champion = champion

    def execute(self, context: Context) -> dict[str, Any]:
        """Join, compare, keep the evidence and return the finding."""
        from airflow_mlops.monitoring.spec import parse_policy
        from airflow_mlops.verdict import Verdict

        with airflow_errors():
            policy = parse_policy(load_document(self.policy, field="policy", folder=dag_folder(self)))
            window = self._window()
            store = ArtifactStore.from_config()
            report = self._look(window, policy, self._reference(store))
            result = self._record(context, store, policy, report)
        context["ti"].xcom_push(key="return_value", value=result)
        for check in report.checks:
            self.log.info("%s: %s", check.verdict.value, check.reason)
        if report.verdict is Verdict.ERROR:
            raise AirflowException(f"model {self.model_name!r}, window {self._label()}: {report.reason}")
        return result

    def _label(self) -> str:
        return self.window if isinstance(self.window, str) else str(dict(self.window))

    def _window(self) -> Window:
        from airflow_mlops.monitoring.window import Window

        if isinstance(self.window, Mapping):
            return decode(Window, self.window, where="window")
        if not isinstance(self.window, str) or self.window in ("", "None"):
            raise SpecificationError("window", self.window, "a prefix of ids such as '2013-06', or a mapping")
        return Window(id_prefix=self.window)

    def _reference(self, store: ArtifactStore) -> ReferenceProfile | None:
        from airflow_mlops.monitoring.spec import parse_reference

        if self.reference is None or isinstance(self.reference, Mapping):
            document: Any = self.reference
            return None if document is None else parse_reference(document)
        return parse_reference(store.read_json(self.reference), where=self.reference)

    def _look(self, window: Window, policy: MonitorPolicy, reference: ReferenceProfile | None) -> DriftReport:
        from airflow_mlops.adapters.predictions.files import LabelFiles, PredictionFiles
        from airflow_mlops.monitoring.detectors import detect_drift
        from airflow_mlops.monitoring.window import join, total

        log = PredictionFiles(_folder(self.predictions_uri, "predictions_uri"))
        version = None if self.champion is None else str(self.champion)
        predictions, read = log.read(self.model_name, window, version=version)
        labels, read_labels = LabelFiles(_folder(self.labels_uri, "labels_uri")).read(self.model_name, window)
        return detect_drift(join(predictions, labels), policy, reference, read=total((read, read_labels)))

    def _record(
        self, context: Context, store: ArtifactStore, policy: MonitorPolicy, report: DriftReport
    ) -> dict[str, Any]:
        from airflow_mlops.operators.record import record

        reference = self.reference if isinstance(self.reference, str) else None
        result: dict[str, Any] = {
            "verdict": report.verdict.value,
            "drifted": report.drifted,
            "reason": report.reason,
            "checks": [encode(check) for check in report.checks],
            "counts": report.counts,
            "window": self._label(),
            "champion": self.champion,
        }
        uri, _ = record(
            context,
            store,
            decision="drift",
            subject=self.model_name,
            verdict=report.verdict,
            checks=report.checks,
            references={} if reference is None else {"reference": reference},
            policy=policy,
            notes={key: result[key] for key in ("window", "champion", "counts")},
        )
        return result | {"evidence_uri": uri}


class DecideRetrainingOperator(MLOpsOperator):
    """Ask for a retraining, once per champion, when drift was shown; otherwise skip.

    A drift that lasts is found at every look. The decision record is what keeps it from starting a training every
    time: the first request made while a champion serves counts, whoever asks later is skipped, also when two ask at
    the same moment. A second try of the same task repeats its request.

    A skipped task emits no asset event, so what the outlets start runs only when a retraining is wanted. The event's
    extra holds ``model_name``, ``month`` (the window), ``reason``, ``champion`` and ``evidence_uri``.

    :param drift: what :class:`DetectDriftOperator` returned (templated)
    :param model_name: name of the model (templated)
    :param champion: version that serves now (templated)
    """

    template_fields: Sequence[str] = ("drift", "model_name", "champion")
    operator_extra_links = (EvidenceLink(), ModelLink())
    ui_color = "#e8eaf6"

    def __init__(self, *, drift: Mapping[str, Any], model_name: str, champion: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drift = drift
        self.model_name = model_name
        self.champion = champion

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide, record the request, and hand it to the outlets."""
        from airflow_mlops.hooks.metrics import RETRAINING, in_task
        from airflow_mlops.monitoring.policy import parse_finding

        with airflow_errors():
            finding = parse_finding(self.drift)
            if not self.champion:
                raise SpecificationError("champion", self.champion, "the version that serves now")
            store = ArtifactStore.from_config()
            decision, request_uri = self.decide(context, store, finding)
        result: dict[str, Any] = {
            "wanted": decision.wanted,
            "reason": decision.reason,
            "model_name": self.model_name,
            "month": finding.window,
            "champion": str(self.champion),
            "evidence_uri": request_uri,
        }
        context["ti"].xcom_push(key="return_value", value=result)
        in_task().count(RETRAINING, model=self.model_name, wanted=decision.wanted)
        if not decision.wanted:
            raise AirflowSkipException(decision.reason)
        for outlet in self.outlets or ():
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = {key: result[key] for key in result if key != "wanted"}
        return result

    def decide(
        self, context: Context, store: ArtifactStore, finding: DriftFinding
    ) -> tuple[RetrainingDecision, str | None]:
        """Decide, and put a request on record; return the decision and the record's URI, None where nothing is new."""
        from airflow_mlops.monitoring.policy import decide_retraining, first_request
        from airflow_mlops.operators.record import record
        from airflow_mlops.verdict import Verdict

        champion, who = str(self.champion), origin(context)
        earlier = store.read_evidence(self.model_name)
        decision = decide_retraining(finding, champion, earlier, who)
        if not decision.wanted or first_request(earlier, champion) is not None:
            return decision, None
        uri, _ = record(
            context,
            store,
            decision="retraining",
            subject=self.model_name,
            verdict=Verdict.PASS,
            checks=(),
            references={} if finding.evidence_uri is None else {"drift": finding.evidence_uri},
            notes={"champion": champion, "window": finding.window, "reason": decision.reason},
        )
        # Somebody else may have asked since the record was read: in the chain, one request is the first.
        return decide_retraining(finding, champion, store.read_evidence(self.model_name), who), uri


def _folder(uri: str, field: str) -> Path:
    path = local_path(uri) if isinstance(uri, str) else None
    if path is None:
        raise SpecificationError(field, uri, "an absolute path or a file:// URI of a folder")
    return path
