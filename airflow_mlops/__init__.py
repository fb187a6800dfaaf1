"""airflow-mlops: an Apache Airflow provider that takes models from data to production and back.

The values that cross its boundaries are importable from here; operators from :mod:`airflow_mlops.operators`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_mlops.evidence import Evidence
    from airflow_mlops.exceptions import MLOpsError
    from airflow_mlops.references import DatasetRef, ImageRef, ModelRef
    from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["CheckResult", "DatasetRef", "Evidence", "ImageRef", "MLOpsError", "ModelRef", "Verdict", "__version__"]

__version__ = "0.1.0"

# Loaded when first used: Airflow imports this package in every process to read the provider's metadata.
_MODULES = {
    "CheckResult": "verdict",
    "DatasetRef": "references",
    "Evidence": "evidence",
    "ImageRef": "references",
    "MLOpsError": "exceptions",
    "ModelRef": "references",
    "Verdict": "verdict",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
