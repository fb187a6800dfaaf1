"""Signatures over a model's digest, or a document's of evidence, made and checked with a local key.

What is signed is a fixed line and the digest of the model's canonical manifest, so one short signature covers every
file, and it lies beside the model wherever that is copied. Only ``cryptography`` is needed, which Airflow and the model
environment both have: the package model-signing signs a manifest of its own, needs a package that it does not declare,
and would put the transparency log's client into the environment that serves.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Any, Literal

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.loading import Loading, ModelSignature

__all__ = ["check_signed", "key_id", "sign_digest", "signer_of"]

Purpose = Literal["model", "evidence"]
#: What is signed begins with its purpose: a signature of one kind never passes for one of the other.
_PURPOSES: dict[Purpose, bytes] = {
    "model": b"airflow-mlops model signature 1\n",
    "evidence": b"airflow-mlops evidence signature 1\n",
}
_KEYS = "an Ed25519 key or one on a NIST curve, in PEM form"


def sign_digest(
    digest: str, private_key: bytes, password: bytes | None = None, *, purpose: Purpose = "model"
) -> ModelSignature:
    """Sign a digest.

    :param digest: ``sha256:…`` of a model's canonical manifest, or of a document of evidence
    :param private_key: PEM
    :param password: of the key, None if it has none
    :param purpose: what the digest is of
    :raises SpecificationError: if this is no such key, or the password is wrong
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key: Any = load_pem_private_key(private_key, password)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise SpecificationError("key", "(not shown)", f"a private key: {_KEYS} ({error})") from error
    identity = _identity(key.public_key())
    message = _message(digest, purpose)
    if isinstance(key, Ed25519PrivateKey):
        made = key.sign(message)
        return ModelSignature(digest=digest, key_id=identity, algorithm="ed25519", signature=_text(made))
    made = key.sign(message, _ecdsa())
    return ModelSignature(digest=digest, key_id=identity, algorithm="ecdsa-sha256", signature=_text(made))


def key_id(public_key: str) -> str:
    """Name a public key.

    :param public_key: PEM
    :raises SpecificationError: if it is no such key
    """
    return _identity(_load(public_key))


def check_signed(digest: str, loading: Loading) -> str | None:
    """Return the id of the trusted key that signed a model; None where the policy asks for none and there is none.

    :raises ContractError: if a signature is required and none is there, or none of those that are there holds
    """
    wanted = loading.policy.signature
    if wanted is None:
        return None
    keys = {_identity(key): key for key in map(_load, wanted.public_keys)}
    made = [one for one in loading.signatures if one.digest == digest]
    for one in made:
        if one.key_id in keys and _holds(one, keys[one.key_id], "model"):
            return one.key_id
    broken = [one.key_id for one in made if one.key_id in keys]
    if broken:
        raise ContractError(f"model {digest}: the signature by the key {broken[0]} does not hold; not loaded")
    if not wanted.required:
        return None
    others = f"; there are signatures by {_listed(one.key_id for one in made)}, which is not trusted" if made else ""
    raise ContractError(
        f"model {digest}: no signature by {_listed(keys)}{others}; not loaded. `airflow mlops model sign` makes one"
    )


def signer_of(signature: ModelSignature, public_keys: Iterable[str], *, purpose: Purpose) -> str | None:
    """Return the id of the key that made a signature; None if it was none of these.

    :param public_keys: PEM
    :raises SpecificationError: if one of them is no such key
    """
    keys = {_identity(key): key for key in map(_load, public_keys)}
    trusted = keys.get(signature.key_id)
    return signature.key_id if trusted is not None and _holds(signature, trusted, purpose) else None


def _holds(signature: ModelSignature, key: Any, purpose: Purpose) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    edwards = isinstance(key, Ed25519PublicKey)
    if signature.signature_version != 1 or (signature.algorithm == "ed25519") != edwards:
        return False
    try:
        content, message = base64.b64decode(signature.signature, validate=True), _message(signature.digest, purpose)
        if edwards:
            key.verify(content, message)
        else:
            key.verify(content, message, _ecdsa())
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _load(public_key: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SpecificationError("public_keys", public_key[:60], f"a public key: {_KEYS}") from error
    _identity(key)
    return key


def _identity(key: Any) -> str:
    """Return the id of a public key.

    :raises SpecificationError: if it is of another kind
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    curves = (SECP256R1, SECP384R1, SECP521R1)
    known = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, curves)
    if not known and not isinstance(key, Ed25519PublicKey):
        raise SpecificationError("key", type(key).__name__, _KEYS)
    content = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _ecdsa() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return ECDSA(SHA256())


def _message(digest: str, purpose: Purpose) -> bytes:
    return _PURPOSES[purpose] + digest.encode()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _listed(names: Iterable[str]) -> str:
    return " or ".join(f"{name[:19]}…" for name in names)
