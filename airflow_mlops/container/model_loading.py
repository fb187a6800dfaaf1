"""Load a model for prediction: first its digest and signature, then what is inside, and only then the objects.

The types that a model file may construct come from a reviewed list here or from the caller's policy, never from the
model's own metadata: a crafted file could allow itself anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_mlops.container.model_signature import check_signed
from airflow_mlops.exceptions import ContractError
from airflow_mlops.loading import Loading, LoadingPolicy, ModelCheck
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
    """A loaded classifier of two classes, or a model that foretells numbers.

    :param estimator: the scikit-learn object
    :param features: the columns that it needs, in order, and their MLflow types (``string``, ``double``, ``long``…)
    :param path: the directory that it came from
    :param check: what was found before it was loaded; None for a model that was never saved
    """

    estimator: Any
    features: Mapping[str, str]
    path: Path
    check: ModelCheck | None = None

    def predict(self, frame: Any) -> Any:
        """Probability of the positive class for each row, or the foretold number of a model without classes.

        :param frame: pandas DataFrame with at least the columns of :attr:`features`; None or NaN for missing
        :returns: numpy array of floats, one per row
        :raises ContractError: if columns are missing or hold text where numbers belong, or the classes are not 0 and 1
        """
        missing = [name for name in self.features if name not in frame.columns]
        if missing:
            raise ContractError(f"the model needs the columns {', '.join(missing)}, which the rows do not have")
        classes = self.classes
        if classes is None:
            return self.estimator.predict(self._typed(frame)).astype("float64").reshape(len(frame))
        if sorted(classes, key=str) != [0, 1]:
            raise ContractError(f"the model's classes are {', '.join(map(str, classes))}; 0 and 1 are accepted")
        if not hasattr(self.estimator, "predict_proba"):
            raise ContractError(
                f"{type(self.estimator).__name__} gives classes without probabilities, which are needed"
            )
        return self.estimator.predict_proba(self._typed(frame))[:, classes.index(1)].astype("float64")

    @property
    def classes(self) -> list[Any] | None:
        """What a classifier tells apart; None for a model that foretells numbers."""
        found = getattr(self.estimator, "classes_", None)
        return None if found is None else list(found)

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


def load_model(path: Path, ref: ModelRef | str, loading: Loading | None = None) -> Predictor:
    """Verify, inspect and load a model that lies in a local directory.

    :param path: directory in MLflow's format
    :param ref: the reference, or only its digest
    :param loading: the policy and the signatures to check it against; None for the policy's defaults
    :raises DigestMismatchError: if the directory is not what the digest names; nothing of it was read then
    :raises ContractError: if it is not signed as the policy asks, is no such model, is a pickle that the policy does
        not name, or wants types that nobody reviewed
    """
    digest = ref.digest if isinstance(ref, ModelRef) else ref
    loading = loading or Loading(policy=LoadingPolicy())
    signed_by = check_signed(digest, loading)
    verify(path, digest)
    metadata = _read_metadata(path)
    flavor = metadata.get("flavors", {}).get("sklearn")
    if flavor is None:
        raise ContractError(f"{path}: MLmodel lists no sklearn flavour")
    file = _inside(path, flavor["pickled_model"])
    if flavor.get("serialization_format") == "skops":
        estimator, types = _construct(file, loading.policy)
        check = ModelCheck(
            digest=digest,
            format="skops",
            reviewed_types=tuple(name for name in types if name in REVIEWED_TYPES),
            trusted_types=tuple(name for name in types if name not in REVIEWED_TYPES),
            signed_by=signed_by,
        )
    else:
        estimator = _unpickle(file, flavor.get("serialization_format"), digest, loading.policy)
        check = ModelCheck(digest=digest, format="pickle", signed_by=signed_by)
    return Predictor(estimator=estimator, features=_features(path, metadata), path=path, check=check)


def _inside(path: Path, name: str) -> Path:
    """Return a file of the model; the digest covers no other."""
    file = (path / name).resolve()
    if not file.is_relative_to(path.resolve()):
        raise ContractError(f"{path}: MLmodel names {name!r}, which is not inside the model")
    return file


def _read_metadata(path: Path) -> dict[str, Any]:
    import yaml

    file = path / "MLmodel"
    if not file.is_file():
        raise ContractError(f"{path}: no MLmodel file, so this is not a model in MLflow's format")
    document = yaml.safe_load(file.read_text())
    if not isinstance(document, dict):
        raise ContractError(f"{file}: not a mapping")
    return document


def _construct(file: Path, policy: LoadingPolicy) -> tuple[Any, list[str]]:
    """Return the object, and the types beyond skops' own safe ones that it is made of."""
    import skops.io

    wanted = skops.io.get_untrusted_types(file=file)
    refused = sorted(set(wanted) - {*REVIEWED_TYPES, *policy.trusted_types})
    if refused:
        raise ContractError(
            f"{file}: wants to construct {', '.join(refused)}, which no one reviewed; not loaded. "
            "Who has reviewed them names them under trusted_types of the loading policy"
        )
    return skops.io.load(file, trusted=wanted), sorted(wanted)


def _unpickle(file: Path, saved: Any, digest: str, policy: LoadingPolicy) -> Any:
    import pickle

    if digest not in policy.allow_pickle:
        raise ContractError(
            f"{file.parent}: saved as {saved!r}; only 'skops' is loaded, since pickles run code when read. "
            f"Save it as skops, or name {digest} under allow_pickle of the loading policy"
        )
    with file.open("rb") as stream:
        return pickle.load(stream)  # noqa: S301 - the policy names this very model


def _features(path: Path, metadata: Mapping[str, Any]) -> dict[str, str]:
    inputs = (metadata.get("signature") or {}).get("inputs")
    if not inputs:
        raise ContractError(f"{path}: the model was saved without a signature, so its columns are unknown")
    return {column["name"]: column["type"] for column in json.loads(inputs)}
