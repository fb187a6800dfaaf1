"""Which extras of this package are installed, and what works by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from packaging.requirements import Requirement

from airflow_mlops.cli.doctor.finding import Finding, note, ok, warn
from airflow_mlops.cli.doctor.site import DISTRIBUTION, Site

__all__ = ["NEEDED_FOR", "extras"]

#: What works only with an extra. Its requirements stand in the distribution's metadata.
NEEDED_FOR: Mapping[str, str] = {
    "validation": "SnapshotDatasetOperator, ProfileDataOperator, ValidateDataOperator",
    "mlflow": "RegisterModelOperator, PromoteModelOperator, RollBackModelOperator, runs of trainings in MLflow",
    "evaluation": "airflow mlops rollout simulate, evaluation inside Airflow's own environment",
    "docker": "TrainInDockerOperator, EvaluateInDockerOperator, BuildImageOperator, CheckImageOperator, "
    "WriteImageBillOperator",
    "kubernetes": "TrainOnKubernetesOperator, EvaluateOnKubernetesOperator, TrainWithKubeflowOperator, "
    "TrainWithRayOperator, StartWarmPodOperator, gateways in a cluster",
    "local": "airflow mlops local up",
    "pandera": "ValidateDataOperator with suites for pandera",
    "sql": "ValidateDataOperator on tables of a database, labels from SQL",
    "spark": "ValidateDataOperator on Spark",
    "openlineage": "lineage of every operator by OpenLineage",
    "statsd": "metrics of every operator by StatsD",
}


def extras(site: Site) -> Iterator[Finding]:
    """Yield a finding for each extra."""
    requirements = [Requirement(text) for text in site.requirements()]
    for extra, works in NEEDED_FOR.items():
        wanted = [
            one
            for one in requirements
            if one.marker is not None
            and not one.marker.evaluate({"extra": ""})
            and one.marker.evaluate({"extra": extra})
        ]
        yield _finding(site, extra, works, wanted)


def _finding(site: Site, extra: str, works: str, wanted: list[Requirement]) -> Finding:
    install = f"pip install '{DISTRIBUTION}[{extra}]'"
    found = {one: site.version(one.name) for one in wanted}
    missing = sorted(one.name for one, version in found.items() if version is None)
    old = sorted(
        f"{one.name} {version} instead of {one.specifier}"
        for one, version in found.items()
        if version is not None and not one.specifier.contains(version, prereleases=True)
    )
    if not wanted:
        return note(extra, f"what it consists of is unknown; it is for {works}", install)
    if missing:
        lacks = f"lacks {', '.join(missing)}" + (f"; {', '.join(old)}" if old else "")
        return note(extra, f"not installed ({lacks}): without it no {works}", install)
    if old:
        return warn(extra, f"too old: {', '.join(old)}; needed for {works}", install)
    return ok(extra, works)
