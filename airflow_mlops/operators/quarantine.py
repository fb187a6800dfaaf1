"""Setting bad rows aside from a task: good and bad rows in the artefact store, side by side."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, local_path
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef
from airflow_mlops.validation.ports import ValidationBackend
from airflow_mlops.validation.quarantine import Separation, assign, rule_name
from airflow_mlops.validation.report import ValidationReport

__all__ = ["facts", "set_aside"]


def set_aside(
    store: ArtifactStore,
    report: ValidationReport,
    backend: ValidationBackend,
    positions: tuple[int, ...],
    *,
    max_share: float,
) -> Separation | str:
    """Write the good and the bad rows of a dataset, and check that together they are all of its rows.

    They lie at ``quarantine/<suite>/<digest>/good`` and ``…/bad``. The same rows and rules give the same place, so a
    retry finds its own files again.

    :param positions: positions in the suite of the rules whose broken rows go aside
    :param max_share: at most which share of the rows may be bad
    :return: the two parts, or why there are none
    :raises ContractError: if rows were lost, doubled, or are not those that were counted as broken
    """
    dataset = _in_files(report)
    path = store.localize(dataset)
    broken = backend.broken_rows(path, report.suite, positions, format=dataset.format)
    if set(broken) != set(positions):
        raise ContractError(f"suite {report.suite.name!r}: rows of the rules {sorted(positions)} were asked for")
    bad = assign(report, broken, max_share=max_share)
    said = f"{len(bad):,} of {dataset.rows:,} rows break a rule"
    if len(bad) == dataset.rows:
        return f"{said}, no good row is left"
    if len(bad) > max_share * dataset.rows:
        return f"{said}, which is more than max_bad_share={max_share:g} allows to set aside"
    with tempfile.TemporaryDirectory(prefix="mlops-quarantine-") as folder:
        good, aside = _write(store, report, path, bad, Path(folder))
    counted = {rule_name(position, report.results[position]): len(set(rows)) for position, rows in broken.items()}
    separation = Separation(source=dataset, good=good, bad=aside, broken=counted)
    if aside.rows != len(bad):
        raise ContractError(f"{aside.uri}: {len(bad)} rows were to be set aside, {aside.rows} are here")
    return separation


def facts(separation: Separation, good: ValidationReport) -> dict[str, Any]:
    """Small JSON-safe facts for XCom and evidence.

    :param good: what the same suite says of the good rows
    """
    return {
        "rows": separation.source.rows,
        "good_rows": separation.good.rows,
        "bad_rows": separation.bad.rows,
        "broken": dict(separation.broken),
        "source": encode(separation.source),
        "bad": encode(separation.bad),
        "verdict": good.verdict.value,
    }


def _write(
    store: ArtifactStore, report: ValidationReport, path: Path, bad: dict[int, tuple[str, ...]], folder: Path
) -> tuple[DatasetRef, DatasetRef]:
    from airflow_mlops.adapters.tables.separation import separate

    separate(path, report.dataset.format, bad, folder)
    digest = manifest_of(folder).digest.removeprefix("sha256:")
    uri, _ = store.publish(folder, "quarantine", report.suite.name, digest[:32])
    if local_path(uri) == folder.resolve():
        raise SpecificationError("[mlops] artifact_root", store.uri(), "another folder than that of temporary files")
    name = path.name if path.is_file() else None
    good, aside = (_reference(store, _in_files(report), f"{uri}/{part}", name) for part in ("good", "bad"))
    return good, aside


def _in_files(report: ValidationReport) -> DatasetRef:
    if not isinstance(report.dataset, DatasetRef):
        raise SpecificationError("on_fail", "quarantine", "rows in files: rows of a table cannot be set aside")
    return report.dataset


def _reference(store: ArtifactStore, source: DatasetRef, uri: str, name: str | None) -> DatasetRef:
    """Name what was written, by reading it again where it lies; one file stays one file."""
    from airflow_mlops.adapters.tables.files import describe

    where = uri if name is None else f"{uri}/{name}"
    manifest = store.manifest(where)
    found = describe(store.localize(where, manifest.digest), source.format)
    return replace(
        source,
        uri=where,
        digest=manifest.digest,
        size_bytes=manifest.size_bytes,
        rows=found.rows,
        columns=found.columns,
    )
