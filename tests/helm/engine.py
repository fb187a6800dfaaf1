"""Helm's engine in a process of its own.

It is a Go library: its threads live as long as the process that loaded it, and a process with threads should not fork,
which tests of Airflow do.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm" / "airflow-mlops"
_NOTES = "templates/NOTES.txt"


class RefusedError(Exception):
    """Helm said no; what it said."""


class Helm:
    """What ``helm`` does with this project's chart.

    :param kubeconfig: where the cluster is; None to lint and render only
    :param namespace: of the releases
    """

    def __init__(self, kubeconfig: str | None = None, namespace: str = "mlops") -> None:
        self.namespace = namespace
        self._target = {"kubeconfig_path": kubeconfig, "namespace": namespace}
        self._process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def close(self) -> None:
        self._process.shutdown()

    def lint(self, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the findings; severity 1 is information, 2 a warning, 3 an error."""
        report = self._do(_lint, values)
        assert report["total_charts_linted"] == 1, report
        return report["messages"]

    def render(self, values: Mapping[str, Any] | None = None, name: str = "demo") -> dict[str, str]:
        """Return each template's text."""
        return self._do(_render, values, name, self.namespace)

    def documents(self, values: Mapping[str, Any] | None = None, name: str = "demo") -> list[dict[str, Any]]:
        """Return what the API server would get."""
        texts = [text for path, text in self.render(values, name).items() if not path.endswith(_NOTES)]
        return [document for text in texts for document in yaml.safe_load_all(text) if document]

    def notes(self, values: Mapping[str, Any] | None = None, name: str = "demo") -> str:
        """Return what the user reads after an installation."""
        (text,) = (text for path, text in self.render(values, name).items() if path.endswith(_NOTES))
        return text

    def install(self, name: str, values: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        return self._do(_release, self._target, "install", (str(CHART), name, dict(values)), options)

    def upgrade(self, name: str, values: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        return self._do(_release, self._target, "upgrade", (str(CHART), name, dict(values)), options)

    def rollback(self, name: str, **options: Any) -> None:
        self._do(_release, self._target, "rollback", (name,), options)

    def uninstall(self, name: str, **options: Any) -> None:
        self._do(_release, self._target, "uninstall", (name,), options)

    def history(self, name: str) -> list[dict[str, Any]]:
        return self._do(_release, self._target, "history", (name,), {})

    def _do(self, *call: Any) -> Any:
        answer, refusal = self._process.submit(_call, *call).result()
        if refusal:
            raise RefusedError(refusal)
        return answer


def _call(function: Any, *arguments: Any) -> tuple[Any, str]:
    """Run in the other process: Helm's own exceptions need not travel."""
    import helm_python

    try:
        return function(*arguments), ""
    except helm_python.HelmError as error:
        return None, str(error)


def _lint(values: Any) -> Any:
    import helm_python

    return helm_python.lint(CHART, values, strict=True)


def _render(values: Any, name: str, namespace: str) -> Any:
    import helm_python

    with helm_python.Chart.load(CHART) as chart:
        return chart.render(values, name=name, namespace=namespace)


def _release(target: Any, action: str, arguments: tuple[Any, ...], options: Any) -> Any:
    import helm_python

    with helm_python.Config(**target) as config:
        return getattr(config, action)(*arguments, **options)
