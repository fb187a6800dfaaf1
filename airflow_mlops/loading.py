"""What must be true of a model's files before anything of them is read, as values.

.. code-block:: yaml

    trusted_types: [sklearn.calibration._CalibratedClassifier]
    signature: {public_keys: [keys/release.pub.pem]}

The types come from here and from the reviewed list of :mod:`airflow_mlops.container.model_loading`, never from the
model's own metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from airflow_mlops.exceptions import SpecificationError

__all__ = ["Loading", "LoadingPolicy", "ModelCheck", "ModelSignature", "SignaturePolicy"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TYPE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclass(frozen=True, kw_only=True)
class SignaturePolicy:
    """Who must have signed.

    :param public_keys: Ed25519 keys or keys on a NIST curve; each as PEM text, or as the path or URI of a PEM file. A
        signature by one of them is enough
    :param required: False accepts a model that nobody signed; what none of these keys made never counts as a signature
    """

    public_keys: tuple[str, ...]
    required: bool = True

    def __post_init__(self) -> None:
        """Refuse a policy that nobody could meet."""
        if not self.public_keys or not all(self.public_keys):
            raise SpecificationError("loading.signature.public_keys", self.public_keys, "at least one public key")


@dataclass(frozen=True, kw_only=True)
class LoadingPolicy:
    """How a model may be loaded; its digest is always verified first.

    :param trusted_types: full names of types that a skops file may construct beyond skops' own safe ones and the
        reviewed list; each was reviewed by whoever writes it here
    :param allow_pickle: digests of models that may be read although they are pickles, which run code when they are
        read; no other pickle is
    :param signature: who must have signed; None asks for no signature
    """

    trusted_types: tuple[str, ...] = ()
    allow_pickle: tuple[str, ...] = ()
    signature: SignaturePolicy | None = None

    def __post_init__(self) -> None:
        """Refuse patterns: what is trusted is named, one by one."""
        for name in self.trusted_types:
            if not _TYPE.fullmatch(name):
                raise SpecificationError("loading.trusted_types", name, "full names of types, such as 'numpy.dtype'")
        for digest in self.allow_pickle:
            if not _DIGEST.fullmatch(digest):
                raise SpecificationError(
                    "loading.allow_pickle", digest, "digests of single models: 'sha256:' and 64 hexadecimal digits"
                )


@dataclass(frozen=True, kw_only=True)
class ModelSignature:
    """A detached signature over a model's digest, and so over the canonical manifest of all its files.

    :param digest: ``sha256:…`` of the model
    :param key_id: ``sha256:…`` of the public key in DER form
    :param algorithm: ``ed25519``, or ``ecdsa-sha256`` for keys on a NIST curve
    :param signature: in base64
    :param signature_version: version of this document's form
    """

    digest: str
    key_id: str
    algorithm: Literal["ed25519", "ecdsa-sha256"]
    signature: str
    signature_version: int = 1


@dataclass(frozen=True, kw_only=True)
class Loading:
    """A policy whose keys are PEM text, and the signatures that were found: all that a process needs which loads.

    :param policy: the policy
    :param signatures: of any models
    """

    policy: LoadingPolicy
    signatures: tuple[ModelSignature, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelCheck:
    """What was found before a model was loaded, for the record.

    :param digest: its digest, which the files had
    :param format: how it is serialised
    :param reviewed_types: types beyond skops' own safe ones that it wanted and that are on the reviewed list
    :param trusted_types: those that only the policy allowed
    :param signed_by: id of the key that signed, None without a signature that was asked for
    """

    digest: str
    format: Literal["skops", "pickle"]
    reviewed_types: tuple[str, ...] = ()
    trusted_types: tuple[str, ...] = ()
    signed_by: str | None = None
