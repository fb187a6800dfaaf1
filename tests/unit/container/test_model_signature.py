"""Signatures: what holds, and what does not."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.container.model_signature import check_signed, key_id, sign_digest
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.loading import Loading, LoadingPolicy, ModelSignature, SignaturePolicy

pytest.importorskip("cryptography", reason="it makes and checks the signatures")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MAKE = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


def pair(kind="ed25519", password=None):
    key = MAKE[kind]()
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public.decode()


def loading(*keys, signatures=(), required=True):
    policy = LoadingPolicy(signature=SignaturePolicy(public_keys=keys, required=required))
    return Loading(policy=policy, signatures=tuple(signatures))


@pytest.mark.parametrize("kind", MAKE)
def test_a_signature_holds_for_its_digest_and_key(kind):
    private, public = pair(kind)
    made = sign_digest(DIGEST, private)
    assert made.algorithm == ("ed25519" if kind == "ed25519" else "ecdsa-sha256")
    assert check_signed(DIGEST, loading(public, signatures=[made])) == key_id(public) == made.key_id
    assert decode(ModelSignature, encode(made)) == made


@pytest.mark.parametrize("kind", MAKE)
def test_a_signature_of_another_model_does_not_hold_whatever_it_says(kind):
    private, public = pair(kind)
    for_other = sign_digest(OTHER, private)
    with pytest.raises(ContractError, match=r"no signature by sha256:.*`airflow mlops model sign` makes one"):
        check_signed(DIGEST, loading(public, signatures=[for_other]))
    renamed = replace(for_other, digest=DIGEST)
    with pytest.raises(ContractError, match=r"the signature by the key sha256:.* does not hold; not loaded"):
        check_signed(DIGEST, loading(public, signatures=[renamed]))


def test_a_signature_by_another_key_does_not_count_whatever_it_says():
    (private, _), (_, trusted) = pair(), pair()
    made = sign_digest(DIGEST, private)
    with pytest.raises(ContractError, match=f"there are signatures by {made.key_id[:19]}…, which is not trusted"):
        check_signed(DIGEST, loading(trusted, signatures=[made]))
    pretended = replace(made, key_id=key_id(trusted))
    for required in (True, False):
        with pytest.raises(ContractError, match="does not hold; not loaded"):
            check_signed(DIGEST, loading(trusted, signatures=[pretended], required=required))


def test_one_of_several_trusted_keys_is_enough():
    (private, public), (_, other) = pair("p256"), pair()
    assert check_signed(DIGEST, loading(other, public, signatures=[sign_digest(DIGEST, private)])) == key_id(public)


def test_a_damaged_signature_does_not_hold():
    private, public = pair()
    made = sign_digest(DIGEST, private)
    flipped = bytearray(base64.b64decode(made.signature))
    flipped[0] ^= 1
    changes = (
        {"signature": base64.b64encode(flipped).decode()},
        {"signature": "no base64"},
        {"signature": ""},
        {"algorithm": "ecdsa-sha256"},
        {"signature_version": 2},
    )
    for change in changes:
        with pytest.raises(ContractError, match="does not hold"):
            check_signed(DIGEST, loading(public, signatures=[replace(made, **change)]))


def test_where_none_is_required_none_is_asked_for():
    _, public = pair()
    assert check_signed(DIGEST, loading(public, required=False)) is None
    assert check_signed(DIGEST, Loading(policy=LoadingPolicy())) is None


def test_a_key_with_a_passphrase_needs_it():
    private, public = pair(password=b"correct horse")
    assert check_signed(DIGEST, loading(public, signatures=[sign_digest(DIGEST, private, b"correct horse")]))
    for wrong in (None, b"battery staple"):
        with pytest.raises(SpecificationError, match=r"key: '\(not shown\)' is not accepted; expected a private key"):
            sign_digest(DIGEST, private, wrong)


def test_other_kinds_of_keys_are_refused():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
    with pytest.raises(SpecificationError, match="expected an Ed25519 key or one on a NIST curve"):
        sign_digest(DIGEST, key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, none))
    public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    for text in (public, "not a key"):
        with pytest.raises(SpecificationError, match=r"expected .*Ed25519 key or one on a NIST curve"):
            check_signed(DIGEST, loading(text))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"trusted_types": ["functools.*"]}, r"trusted_types: 'functools.\*' is not accepted; expected full names"),
        ({"allow_pickle": [True]}, "a string"),
        ({"allow_pickle": ["sha256:abc"]}, "expected digests of single models"),
        ({"allow_pickle": True}, "a list"),
        ({"signature": {"public_keys": []}}, "at least one public key"),
        ({"trusted_type": []}, "did you mean 'trusted_types'"),
    ],
)
def test_a_policy_that_trusts_at_large_is_refused(policy, message):
    with pytest.raises(SpecificationError, match=message):
        decode(LoadingPolicy, policy, where="loading")
