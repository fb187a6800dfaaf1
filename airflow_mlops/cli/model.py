"""What the commands ``airflow mlops model …`` do."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from airflow_mlops.cli.output import exits, say
from airflow_mlops.exceptions import DigestMismatchError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.loading import Loading, LoadingPolicy, SignaturePolicy

__all__ = ["sign", "verify"]


@exits
def sign(args: argparse.Namespace) -> int:
    """Sign a model and keep the signature in the artefact store, by the model's digest."""
    from airflow_mlops.container.model_signature import sign_digest
    from airflow_mlops.hooks.model_signatures import keep_signature

    store = ArtifactStore.from_config()
    digest = _digest(store, args)
    signature = sign_digest(digest, _private_key(args.key), _passphrase(args.passphrase_variable))
    uri = keep_signature(store, signature)
    say(f"signed {digest} by the key {signature.key_id}: {uri}")
    return 0


@exits
def verify(args: argparse.Namespace) -> int:
    """Check a model's files and their signature as the loading policy does."""
    from airflow_mlops.container.model_signature import check_signed
    from airflow_mlops.hooks.model_signatures import read_keys, signatures_of

    store = ArtifactStore.from_config()
    digest = _digest(store, args)
    policy = LoadingPolicy(signature=SignaturePolicy(public_keys=read_keys(args.key, folder=Path.cwd())))
    signer = check_signed(digest, Loading(policy=policy, signatures=signatures_of(store, digest)))
    say(f"{args.model}: {digest} is signed by the key {signer}")
    return 0


def _digest(store: ArtifactStore, args: argparse.Namespace) -> str:
    """Return the digest of the files as they are now."""
    uri = args.model if "://" in args.model else str(Path(args.model).absolute())
    found = store.manifest(uri).digest
    if args.digest is not None and args.digest != found:
        raise DigestMismatchError(args.model, args.digest, found)
    return found


def _private_key(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SpecificationError("key", path, f"a readable file ({error.strerror})") from error


def _passphrase(variable: str | None) -> bytes | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise SpecificationError("passphrase-variable", variable, "an environment variable that is set")
    return os.environ[variable].encode()
