"""What a model's own files say about it, and what a version must not lack."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from airflow_mlops.codec import canonical_json, digest_of
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.versions import Needed
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["ModelContents", "check_needed", "contents_tags", "image_tags"]

_PINNED = re.compile(r"^[A-Za-z0-9._-]+(\[[A-Za-z0-9._, -]+\])?\s*(===?\s*[^,*\s;]+|@\s*\S+)(\s*;.*)?$")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}$")
#: MLflow's limit is twice that.
_LONGEST = 50_000
#: Tags by what they stand for; any tag that begins so will do.
_TAGS: Mapping[str, str] = {
    "datasets": "mlops.dataset.",
    "evaluation": "mlops.evaluation_digest",
    "gate": "mlops.gate_evidence",
    "git_revision": "mlops.git_revision",
    "image": "mlops.image",
    "requirements": "mlops.requirements",
    "signature": "mlops.signature",
}
_ADVICE: Mapping[str, str] = {
    "datasets": "hand over datasets",
    "evaluation": "hand over evaluation",
    "gate": "hand over gate",
    "git_revision": "hand over git_revision, or keep the DAGs in a git bundle or checkout",
    "image": "hand over image",
    "requirements": "save the model with pip_requirements",
    "signature": "save the model with its signature",
}


@dataclass(frozen=True, kw_only=True)
class ModelContents:
    """What a model's files say.

    :param requirements: lines of its ``requirements.txt`` without comments; None if there is none
    :param signature: names and types of its inputs and outputs, as its ``MLmodel`` has them; None if it has none
    """

    requirements: tuple[str, ...] | None = None
    signature: Mapping[str, Any] | None = None


def contents_tags(contents: ModelContents) -> dict[str, str]:
    """Tags that name the libraries and the columns that a model works with; thousands of them by their digest.

    :raises ContractError: if a library is not pinned to one version: another one might load another model
    """
    tags = {}
    if contents.requirements:
        loose = [line for line in contents.requirements if not _PINNED.match(line)]
        if loose:
            raise ContractError(
                f"the model's requirements.txt names no exact version of {', '.join(loose[:5])}; "
                "save it with pip_requirements such as 'scikit-learn==1.9.1'"
            )
        tags[_TAGS["requirements"]] = _fitting(", ".join(contents.requirements))
    if contents.signature and contents.signature.get("inputs"):
        parts = {key: _parsed(value) for key, value in contents.signature.items() if value}
        tags[_TAGS["signature"]] = _fitting(canonical_json(parts))
    return tags


def image_tags(image: str | Mapping[str, Any] | None) -> dict[str, str]:
    """Tags that name the image in which a model was trained, by its digest.

    :param image: an encoded ImageRef, ``name@sha256:…`` or ``sha256:…``
    :raises SpecificationError: if it names no digest; a tag can be moved
    """
    if not image:
        return {}
    if isinstance(image, Mapping):
        digest, uri = str(image.get("digest", "")), str(image.get("uri", ""))
    else:
        uri, _, digest = image.rpartition("@")
    if not _DIGEST.fullmatch(digest):
        raise SpecificationError("image", image, "an encoded ImageRef, 'name@sha256:…' or 'sha256:…'")
    return {"mlops.image": digest} | ({"mlops.image_uri": uri} if uri else {})


def check_needed(tags: Mapping[str, str], needed: Sequence[str]) -> tuple[CheckResult, ...]:
    """Check that a version will have everything that it must not lack.

    :param tags: the tags that it will have
    :param needed: some of :data:`~airflow_mlops.governance.versions.Needed`
    :raises SpecificationError: if there is no such thing
    :raises ContractError: if something is missing; the message names all of it, and what to do
    """
    unknown = [name for name in needed if name not in _TAGS]
    if unknown:
        raise SpecificationError("needs", unknown, "some of " + ", ".join(map(repr, get_args(Needed))))
    missing = [name for name in needed if not any(key.startswith(_TAGS[name]) and tags[key] for key in tags)]
    if missing:
        told = "; ".join(f"{name} ({_ADVICE[name]})" for name in missing)
        raise ContractError(f"the version would lack {told}. What a version needs is said by the argument needs")
    return tuple(
        CheckResult(name=name, verdict=Verdict.PASS, reason=f"the version says it in {_TAGS[name]}") for name in needed
    )


def _fitting(text: str) -> str:
    """Return a text that is no longer than a tag may be; its digest stands for one that is."""
    return text if len(text) <= _LONGEST else digest_of(text)


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
