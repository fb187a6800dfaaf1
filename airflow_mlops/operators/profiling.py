"""The operator that keeps what a dataset looked like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.links.report import ReportLink, publish_report
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.references import DatasetRef
    from airflow_mlops.validation.profile import DatasetProfile

__all__ = ["ProfileDataOperator"]

_MOST_TOP_VALUES = 1000


class ProfileDataOperator(MLOpsOperator):
    """Keep what a dataset looks like: for each column counts, missing values, mean and spread, quantiles, top values.

    The profile is a JSON document of kilobytes in the artefact store, pinned to the dataset's digest. Profiles of
    partitions merge into that of the whole (:func:`~airflow_mlops.validation.profile.merge_profiles`), so the data
    themselves need not be kept. The same data give the same document. A suite of rules that these data keep is
    written beside it as YAML, a draft for a person to edit.

    Returns ``profile_uri``, ``profile_digest``, ``suite_uri`` (None where no suite was asked for), ``report_uri``,
    ``rows``, ``columns`` (their number) and ``dataset``.

    :param dataset: encoded :class:`~airflow_mlops.references.DatasetRef`, as :class:`SnapshotDatasetOperator` returns
        it (templated)
    :param model_version: version of the model that these rows belong to, None if to none (templated)
    :param suite_name: name of the suggested suite; None suggests none (templated)
    :param top_values: at most how many frequent values of a column are kept; with 0 no text of any row is kept, but
        lowest and highest numbers and quantiles still are numbers of rows
    """

    template_fields: Sequence[str] = ("dataset", "model_version", "suite_name")
    operator_extra_links = (ReportLink(),)
    ui_color = "#fff3e0"

    def __init__(
        self,
        *,
        dataset: Mapping[str, Any],
        model_version: str | None = None,
        suite_name: str | None = "suggested",
        top_values: int = 50,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.model_version = model_version
        self.suite_name = suite_name
        self.top_values = top_values

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Profile the dataset and keep the documents."""
        from airflow_mlops.references import DatasetRef

        number = isinstance(self.top_values, int) and not isinstance(self.top_values, bool)
        if not number or not 0 <= self.top_values <= _MOST_TOP_VALUES:
            raise SpecificationError("top_values", self.top_values, f"a whole number from 0 to {_MOST_TOP_VALUES}")
        dataset = decode(DatasetRef, self.dataset, where="dataset")
        store = ArtifactStore.from_config()
        profile = self._profile(store, dataset)
        self.seen = {"profile": profile}
        folder = ("profiles", dataset.digest.removeprefix("sha256:"))
        name = profile.digest.removeprefix("sha256:")[:16]
        profile_uri = store.write_json(profile, *folder, f"profile-{name}.json")
        text = self._suggest(profile) if self.suite_name else None
        suite_uri = None if text is None else store.write_bytes(text.encode(), *folder, f"suite-{name}.yaml")
        report_uri = self._report(context, store, dataset, profile, text)
        self.log.info("%s: %s rows, %s columns", profile_uri, f"{profile.rows:,}", len(profile.columns))
        return {
            "profile_uri": profile_uri,
            "profile_digest": profile.digest,
            "suite_uri": suite_uri,
            "report_uri": report_uri,
            "rows": profile.rows,
            "columns": len(profile.columns),
            "dataset": encode(dataset),
        }

    def _profile(self, store: ArtifactStore, dataset: DatasetRef) -> DatasetProfile:
        from airflow_mlops.adapters.tables.profiling import profile_columns
        from airflow_mlops.validation.profile import DatasetProfile

        if not dataset.rows:
            raise SpecificationError("dataset.rows", dataset.rows, "a dataset with rows")
        columns = profile_columns(store.localize(dataset), dataset.format, top_values=self.top_values)
        for name, column in columns.items():
            if column.rows != dataset.rows:
                raise ContractError(f"{dataset.uri}: {name} has {column.rows} rows, the dataset {dataset.rows}")
        return DatasetProfile(
            datasets=(dataset.digest,), rows=dataset.rows, columns=columns, model_version=self.model_version or None
        )

    def _suggest(self, profile: DatasetProfile) -> str:
        from airflow_mlops.validation.suggestion import suggest_suite, suite_text

        return suite_text(suggest_suite(profile, name=str(self.suite_name)), profile)

    @staticmethod
    def _report(
        context: Context, store: ArtifactStore, dataset: DatasetRef, profile: DatasetProfile, text: str | None
    ) -> str:
        from airflow_mlops.clock import SystemClock
        from airflow_mlops.validation.profile_html import render_profile

        now = datetime.fromtimestamp(SystemClock().now(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        page = render_profile(profile, dataset=dataset, suite_text=text, profiled_at=now)
        return publish_report(context, store, "profile", page)
