"""Signatures of models in the artefact store, and loading policies as operators get them.

A signature is kept by the model's digest, not beside the model's files: it is found wherever the model was copied to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_mlops.codec import decode
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.documents import load_document, load_text
from airflow_mlops.hooks.transfer import files_at
from airflow_mlops.loading import Loading, LoadingPolicy, ModelSignature

__all__ = ["keep_signature", "read_keys", "read_loading", "signatures_of"]

_FOLDER = "signatures"


def keep_signature(store: ArtifactStore, signature: ModelSignature) -> str:
    """Write a signature beside those that other keys made of the same model, and return its URI."""
    return store.write_json(signature, _FOLDER, signature.digest, f"{signature.key_id}.json")


def signatures_of(store: ArtifactStore, digest: str) -> tuple[ModelSignature, ...]:
    """Return all signatures of a model; none of them is checked.

    :raises ContractError: if one is no JSON
    :raises SpecificationError: if one is no signature
    """
    folder = store.path(_FOLDER, digest)
    names = sorted(name for name in files_at(folder) if name.endswith(".json"))
    return tuple(
        decode(ModelSignature, store.read_json(str(folder / name)), where=str(folder / name)) for name in names
    )


def read_keys(given: Iterable[str], *, folder: str | Path | None) -> tuple[str, ...]:
    """Return public keys as PEM text.

    :param given: PEM text, or paths and URIs of PEM files
    :param folder: where relative paths begin
    :raises PermanentAdapterError: if a file is not there
    """
    field = "loading.signature.public_keys"
    return tuple(
        one if one.lstrip().startswith("-----BEGIN") else load_text(one, field=field, folder=folder) for one in given
    )


def read_loading(
    given: str | Path | Mapping[str, Any],
    digests: Iterable[str],
    *,
    store: ArtifactStore,
    folder: str | Path | None,
) -> Loading:
    """Read a policy with its keys and the signatures of the models that it will be asked about, and check these.

    :param given: mapping, or path of a YAML file, with the fields of :class:`~airflow_mlops.loading.LoadingPolicy`
    :param digests: of the models that are to be loaded
    :param store: where signatures are kept
    :param folder: where relative paths begin, usually the DAG's
    :raises SpecificationError: if the policy is none
    :raises ContractError: if a model is not signed as the policy asks: nothing of it was read then
    """
    from airflow_mlops.container.model_signature import check_signed

    policy = decode(LoadingPolicy, load_document(given, field="loading", folder=folder), where="loading")
    if policy.signature is None:
        return Loading(policy=policy)
    keys = read_keys(policy.signature.public_keys, folder=folder)
    policy = replace(policy, signature=replace(policy.signature, public_keys=keys))
    wanted = tuple(dict.fromkeys(digests))
    loading = Loading(policy=policy, signatures=tuple(one for digest in wanted for one in signatures_of(store, digest)))
    for digest in wanted:
        check_signed(digest, loading)
    return loading
