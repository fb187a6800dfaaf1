"""Which arguments and results of each operator name what it reads and makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["FLOWS", "Flow", "Kind", "flow_of"]

#: ``data`` and ``model`` are references, ``file`` is a reference to a document, ``document`` the URI of one, ``place``
#: the URI of data without a digest, ``version`` a registered version, ``image`` an image's reference or name.
Kind = Literal["data", "document", "file", "image", "model", "place", "version"]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Where an operator's lineage stands; an empty path is the whole result, a dot leads into a part of it.

    :param fields: rendered fields that name what it reads
    :param read: parts of its result that name what it has read
    :param made: parts of its result that name what it has made
    """

    fields: Mapping[str, Kind] = field(default_factory=dict)
    read: Mapping[str, Kind] = field(default_factory=dict)
    made: Mapping[str, Kind] = field(default_factory=dict)


_TRAINING = Flow(fields={"datasets": "data", "models": "model", "image": "image"}, made={"model": "model"})
_EVALUATION = Flow(
    fields={"candidate": "model", "champion": "model", "dataset": "data", "training_data": "data", "image": "image"},
    made={"evaluation_uri": "document", "report_uri": "document"},
)
_RELEASE = Flow(made={"": "version"})

FLOWS: Mapping[str, Flow] = {
    "ApproveReleaseOperator": Flow(),
    "BuildImageOperator": Flow(made={"image": "image"}),
    "CanaryRolloutOperator": Flow(),
    "CheckImageOperator": Flow(fields={"image": "image"}),
    "CheckModelServerOperator": Flow(fields={"model": "model"}),
    "DecideRetrainingOperator": Flow(fields={"drift.evidence_uri": "document"}),
    "DetectDriftOperator": Flow(fields={"predictions_uri": "place", "labels_uri": "place"}),
    "EvaluateInDockerOperator": _EVALUATION,
    "EvaluateModelOperator": _EVALUATION,
    "EvaluateOnKubernetesOperator": _EVALUATION,
    "ExplainModelOperator": _EVALUATION,
    "ExportToOnnxOperator": Flow(fields={"model": "model", "dataset": "data"}, made={"model": "model"}),
    "ModelCardOperator": Flow(made={"card": "file", "dossier": "file", "report_uri": "document"}),
    "ModelGateOperator": Flow(
        fields={
            "evaluation.candidate": "model",
            "evaluation.champion": "model",
            "evaluation.dataset": "data",
            "evaluation.evaluation_uri": "document",
        },
        made={"report_uri": "document"},
    ),
    "ProfileDataOperator": Flow(fields={"dataset": "data"}, made={"profile_uri": "document", "suite_uri": "document"}),
    "PromoteModelOperator": _RELEASE,
    "RegisterModelOperator": Flow(fields={"model": "model"}, made={"": "version"}),
    "RollBackModelOperator": _RELEASE,
    "RunInWarmPodOperator": Flow(
        fields={"datasets": "data", "models": "model"}, made={"model": "model", "artifacts": "document"}
    ),
    "ShadowRolloutOperator": Flow(fields={"predictions_uri": "place", "labels_uri": "place"}),
    "SnapshotDatasetOperator": Flow(fields={"uri": "place"}, read={"": "data"}),
    "StartModelServerOperator": Flow(fields={"model": "model"}),
    "StartWarmPodOperator": Flow(fields={"image": "image"}),
    "StopModelServersOperator": Flow(),
    "StopWarmPodOperator": Flow(),
    "TrainInDockerOperator": _TRAINING,
    "TrainLocallyOperator": _TRAINING,
    "TrainOnKubernetesOperator": _TRAINING,
    "TrainWithKubeflowOperator": _TRAINING,
    "TrainWithRayOperator": _TRAINING,
    "ValidateDataOperator": Flow(
        fields={"dataset": "data"},
        read={"quarantine.source": "data"},
        made={"dataset": "data", "quarantine.bad": "data"},
    ),
    "WriteImageBillOperator": Flow(fields={"image": "image"}, made={"bill": "file"}),
}


def flow_of(classes: Iterable[str]) -> Flow:
    """Return the flow of the first class that has one.

    :param classes: names of an operator's class and of those it derives from, in order
    """
    return next((FLOWS[name] for name in classes if name in FLOWS), Flow())
