"""What tasks read, made and decided, in OpenLineage's classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attr
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import DatasetFacet, InputDatasetFacet, OutputDatasetFacet, RunFacet
from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions_facet
from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as metrics_facet
from openlineage.client.facet_v2 import dataset_type_dataset as type_facet
from openlineage.client.facet_v2 import dataset_version_dataset as version_facet
from openlineage.client.facet_v2 import input_statistics_input_dataset as input_facet
from openlineage.client.facet_v2 import output_statistics_output_dataset as output_facet
from openlineage.client.facet_v2 import schema_dataset as schema_facet

from airflow_mlops import __version__
from airflow_mlops.governance.dataflow import Assertion, Dataflow
from airflow_mlops.governance.lineage_nodes import Node

if TYPE_CHECKING:
    from airflow_mlops.evidence import Evidence
    from airflow_mlops.validation.profile import ColumnProfile, DatasetProfile

__all__ = [
    "MlopsDecisionRunFacet",
    "MlopsImageDatasetFacet",
    "MlopsModelDatasetFacet",
    "inputs_of",
    "output_of",
    "run_facets_of",
]

_SCHEMAS = "https://raw.githubusercontent.com/airflow-mlops/airflow-mlops/v{version}/airflow_mlops/schemas/openlineage/"
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def _schema(name: str) -> str:
    return f"{_SCHEMAS.format(version=__version__)}{name}.json"


@attr.define
class MlopsModelDatasetFacet(DatasetFacet):
    """A model: what it is called, in which version, and what was measured when it was trained."""

    format: str | None = attr.field(default=None)
    sizeBytes: int | None = attr.field(default=None)  # noqa: N815 - OpenLineage's style
    modelName: str | None = attr.field(default=None)  # noqa: N815
    version: str | None = attr.field(default=None)
    metrics: dict[str, float] = attr.field(factory=dict)

    @staticmethod
    def _get_schema() -> str:
        return _schema("model-1")


@attr.define
class MlopsImageDatasetFacet(DatasetFacet):
    """A container image."""

    format: str | None = attr.field(default=None)
    sizeBytes: int | None = attr.field(default=None)  # noqa: N815

    @staticmethod
    def _get_schema() -> str:
        return _schema("image-1")


@attr.define
class MlopsDecisionRunFacet(RunFacet):
    """What a task decided, each decision with its judgements and the digest of its document."""

    decisions: list[dict[str, Any]] = attr.field(factory=list)

    @staticmethod
    def _get_schema() -> str:
        return _schema("decision-1")


def inputs_of(flow: Dataflow, profile: DatasetProfile | None = None) -> list[InputDataset]:
    """Return what a task read, with what it found out about it.

    :param profile: what the data's columns look like, where the task has looked
    """
    judged = next((node for node in flow.inputs if node.kind == "dataset"), None)
    found = []
    for node in flow.inputs:
        facets = _read_facets(node)
        if node is judged and flow.assertions:
            facets["dataQualityAssertions"] = _assertions(flow.assertions)
        if profile is not None and node.digest in profile.datasets:
            facets["dataQualityMetrics"] = _column_metrics(node, profile)
        elif node is judged and flow.assertions:
            facets["dataQualityMetrics"] = metrics_facet.DataQualityMetricsInputDatasetFacet(
                columnMetrics={}, rowCount=node.rows, bytes=node.size_bytes
            )
        found.append(InputDataset(node.namespace, node.name, facets=_facets(node), inputFacets=facets))
    return found


def _read_facets(node: Node) -> dict[str, InputDatasetFacet]:
    if node.rows is None and node.size_bytes is None:
        return {}
    statistics = input_facet.InputStatisticsInputDatasetFacet(rowCount=node.rows, size=node.size_bytes)
    return {"inputStatistics": statistics}


def output_of(node: Node) -> OutputDataset:
    """Return something that a task made."""
    facets: dict[str, OutputDatasetFacet] = {}
    if node.rows is not None or node.size_bytes is not None:
        facets["outputStatistics"] = output_facet.OutputStatisticsOutputDatasetFacet(
            rowCount=node.rows, size=node.size_bytes
        )
    return OutputDataset(node.namespace, node.name, facets=_facets(node), outputFacets=facets)


def _facets(node: Node) -> dict[str, DatasetFacet]:
    found: dict[str, DatasetFacet] = {
        "datasetType": type_facet.DatasetTypeDatasetFacet(
            datasetType="TABLE" if node.format in _TABLES else _TYPES[node.kind], subType=node.format or ""
        )
    }
    if node.digest:
        found["version"] = version_facet.DatasetVersionDatasetFacet(datasetVersion=node.digest)
    if node.columns:
        columns = [schema_facet.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in node.columns.items()]
        found["schema"] = schema_facet.SchemaDatasetFacet(fields=columns)
    if node.kind == "model":
        found["mlops_model"] = MlopsModelDatasetFacet(
            format=node.format,
            sizeBytes=node.size_bytes,
            modelName=node.model_name,
            version=node.version,
            metrics=dict(node.metrics),
        )
    if node.kind == "image":
        found["mlops_image"] = MlopsImageDatasetFacet(format=node.format, sizeBytes=node.size_bytes)
    return found


_TABLES = ("sql", "spark", "batch")
_TYPES = {"dataset": "FILE", "document": "FILE", "model": "MODEL", "image": "IMAGE"}


def _assertions(given: Iterable[Assertion]) -> InputDatasetFacet:
    return assertions_facet.DataQualityAssertionsDatasetFacet(
        assertions=[
            assertions_facet.Assertion(
                assertion=one.rule,
                # What could not be found out is no success.
                success=one.kept is True,
                column=one.column,
                severity="error" if one.blocks else "warn",
                name=one.name,
                description=one.reason,
                expected=None if one.expected is None else f"{one.expected:g}",
                actual=None if one.actual is None else f"{one.actual:g}",
            )
            for one in given
        ]
    )


def _column_metrics(node: Node, profile: DatasetProfile) -> InputDatasetFacet:
    return metrics_facet.DataQualityMetricsInputDatasetFacet(
        columnMetrics={name: _column(column) for name, column in profile.columns.items()},
        rowCount=profile.rows,
        bytes=node.size_bytes,
    )


def _column(column: ColumnProfile) -> metrics_facet.ColumnMetrics:
    ranks, totals = column.ranks, column.totals
    return metrics_facet.ColumnMetrics(
        nullCount=column.missing,
        distinctCount=column.distinct,
        count=column.present,
        sum=None if totals is None else totals.mean * totals.count,
        min=column.low,
        max=column.high,
        quantiles={} if ranks is None else {f"{share:g}": ranks.quantile(share) for share in _QUANTILES},
    )


def run_facets_of(decided: Iterable[tuple[Evidence, str, str]]) -> dict[str, RunFacet]:
    """Return what a task decided.

    :param decided: each document with its URI and its digest
    """
    decisions = [_decision(*one) for one in decided]
    return {"mlops_decision": MlopsDecisionRunFacet(decisions=decisions)} if decisions else {}


def _decision(evidence: Evidence, uri: str, digest: str) -> dict[str, Any]:
    return {
        "decision": evidence.decision,
        "subject": evidence.subject,
        "verdict": evidence.verdict.value,
        "evidenceUri": uri,
        "evidenceDigest": digest,
        "policyDigest": evidence.policy_digest,
        "checks": [
            {
                "name": check.name,
                "verdict": check.verdict.value,
                "value": check.value,
                "low": check.low,
                "high": check.high,
                "threshold": check.threshold,
                "sampleSize": check.sample_size,
            }
            for check in evidence.checks
        ],
    }
