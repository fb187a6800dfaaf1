"""Load a model for prediction: first its digest, then what is inside, and only then the objects.

The types that a model file may construct come from a reviewed list here or from the caller, never from the model's own
metadata: a crafted file could allow itself anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_mlops.exceptions import ContractError
from airflow_mlops.manifest import verify
from airflow_mlops.references import ModelRef

__all__ = ["REVIEWED_TYPES", "SMOKE_FILE", "Predictor", "load_model"]

#: Types beyond skops' own safe ones that were reviewed and may be constructed. The tree predictors' node tables are
#: not bounds-checked when they predict, so they are acceptable only from digests that our own training left.
REVIEWED_TYPES = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)

#: A sample of rows with the predictions that the model gave when it was trained; part of the model directory.
SMOKE_FILE = "smoke.json"


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A loaded classifier.

    :param estimator: the scikit-learn object
    :param features: the columns that it needs, in order, and their MLflow types (``string``, ``double``, ``long``…)
    :param path: the directory that it came from
    """

    estimator: Any
    features: Mapping[str, str]
    path: Path

    def predict(self, frame: Any) -> Any:
        """Probability of the positive class for each row.

        :param frame: pandas DataFrame with at least the columns of :attr:`features`; None or NaN for missing
        :returns: numpy array of floats, one per row
        :raises ContractError: if columns are missing or hold text where numbers belong
        """
        missing = [name for name in self.features if name not in frame.columns]
        if missing:
            raise ContractError(f"the model needs the columns {', '.join(missing)}, which the rows do not have")
        positive = list(self.estimator.classes_).index(1)
        return self.estimator.predict_proba(self._typed(frame))[:, positive].astype("float64")

    def _typed(self, frame: Any) -> Any:
        import pandas as pd

        wanted = {name: "object" if kind == "string" else "float64" for name, kind in self.features.items()}
        # The model server sends rows one by one, typed already: copying them would take as long as the trees.
        if list(frame.columns) == list(wanted) and [str(kind) for kind in frame.dtypes] == list(wanted.values()):
            return frame
        columns = {}
        for name, kind in wanted.items():
            try:
                columns[name] = frame[name].astype(kind)
            except (TypeError, ValueError) as error:
                raise ContractError(f"column {name} must be {self.features[name]}: {error}") from error
        return pd.DataFrame(columns, index=frame.index)


def load_model(path: Path, ref: ModelRef | str, trusted_types: Iterable[str] = REVIEWED_TYPES) -> Predictor:
    """Verify, inspect and load a model that lies in a local directory.

    :param path: directory in MLflow's format
    :param ref: the reference, or only its digest
    :param trusted_types: types that the file may construct beyond skops' own safe ones
    :raises DigestMismatchError: if the directory is not what the digest names; nothing of it was read then
    :raises ContractError: if it is no such model or wants types outside ``trusted_types``
    """
    verify(path, ref.digest if isinstance(ref, ModelRef) else ref)
    metadata = _read_metadata(path)
    flavor = metadata.get("flavors", {}).get("sklearn")
    if flavor is None:
        raise ContractError(f"{path}: MLmodel lists no sklearn flavour")
    if flavor.get("serialization_format") != "skops":
        saved = flavor.get("serialization_format")
        raise ContractError(f"{path}: saved as {saved!r}; only 'skops' is loaded, since pickles run code when read")
    file = path / flavor["pickled_model"]
    return Predictor(estimator=_construct(file, trusted_types), features=_features(path, metadata), path=path)


def _read_metadata(path: Path) -> dict[str, Any]:
    import yaml

    file = path / "MLmodel"
    if not file.is_file():
        raise ContractError(f"{path}: no MLmodel file, so this is not a model in MLflow's format")
    document = yaml.safe_load(file.read_text())
    if not isinstance(document, dict):
        raise ContractError(f"{file}: not a mapping")
    return document


def _construct(file: Path, trusted_types: Iterable[str]) -> Any:
    import skops.io

    wanted = skops.io.get_untrusted_types(file=file)
    refused = sorted(set(wanted) - set(trusted_types))
    if refused:
        raise ContractError(f"{file}: wants to construct {', '.join(refused)}, which no one reviewed; not loaded")
    return skops.io.load(file, trusted=wanted)


def _features(path: Path, metadata: Mapping[str, Any]) -> dict[str, str]:
    inputs = (metadata.get("signature") or {}).get("inputs")
    if not inputs:
        raise ContractError(f"{path}: the model was saved without a signature, so its columns are unknown")
    return {column["name"]: column["type"] for column in json.loads(inputs)}
