"""The right to change a model's aliases, kept among the registered model's tags."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.exceptions import AdapterError, TransientAdapterError
from airflow_mlops.governance.claims import Contender

__all__ = ["CLAIM_PREFIX", "LEASE_SECONDS", "ModelLease"]

log = logging.getLogger(__name__)

#: Tags of a registered model that begin so are claims; each process writes one of its own.
CLAIM_PREFIX = "mlops.claim."
#: How long a claim holds that is not given back, in seconds.
LEASE_SECONDS = 60.0
_LOOK_SECONDS = (0.1, 0.3)


class ModelLease:
    """Lets one process at a time change a model's aliases; see docs/decisions/0011.

    Its holder begins no change after the first half of the lease and waits for no answer longer than a sixth, twice, so
    that none of its requests is under way when somebody else takes it for dead.

    :param server: the tracking server
    :param name: the registered model, which exists
    :param lease_seconds: how long a claim holds that is not given back
    """

    def __init__(self, server: MLflowServer, name: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._server = server
        self._name = name
        self._lease_seconds = lease_seconds
        # First come, first served, as far as clocks agree; nothing but fairness depends on it.
        self._order = f"{CLAIM_PREFIX}{time.time_ns() // 1_000_000:014d}."
        self._key = self._order + uuid.uuid4().hex
        self._standing = False
        self._since = 0.0

    @property
    def timeout_seconds(self) -> int:
        """Patience with one request; MLflow's client repeats it once."""
        return max(1, int(self._lease_seconds / 6))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Wait until nobody else holds the lease, hold it, and give it back.

        :raises TransientAdapterError: if others hold it for more than two leases; nothing was changed
        """
        try:
            self._wait()
            yield
        finally:
            try:
                self._withdraw()
            except AdapterError as error:
                log.warning("%s: its claim %s stands until its lease is over: %s", self._name, self._key, error)

    def check(self) -> None:
        """Make sure that there is time for another change.

        :raises TransientAdapterError: if there is not; nothing was changed
        """
        held = time.monotonic() - self._since
        if not self._standing or held > self._lease_seconds / 2:
            raise TransientAdapterError(
                f"changing the aliases of {self._name!r} took {held:.0f} seconds; somebody else may be at it by now, "
                f"so nothing more was changed. Another try goes on from here"
            )

    def _wait(self) -> None:
        contender = Contender(lease_seconds=self._lease_seconds)
        deadline = time.monotonic() + 2 * self._lease_seconds
        self._claim()
        while True:
            claims = self._claims()
            seen = contender.look(claims, self._key, time.monotonic())
            for key in seen.dead:
                log.warning("%s: removed the claim of %s, who has gone", self._name, claims[key])
                self._delete(key)
            age = time.monotonic() - self._since
            if seen.alone and age < self._lease_seconds / 6:
                return
            if time.monotonic() > deadline:
                raise TransientAdapterError(
                    f"the aliases of {self._name!r} are being changed by {claims.get(seen.ahead or '', 'somebody')}; "
                    f"nothing was changed"
                )
            if seen.gives_way:
                self._withdraw()
            elif not self._standing or age > self._lease_seconds / 6 or self._key not in claims:
                self._claim()  # anew: whoever holds the lease has all of its time
                continue
            time.sleep(random.uniform(*_LOOK_SECONDS))  # noqa: S311 - only to keep out of step

    def _claim(self) -> None:
        old, stood = self._key, self._standing
        value = json.dumps(
            {"by": f"{socket.gethostname()}/{os.getpid()}", "at": datetime.now(UTC).isoformat(timespec="seconds")}
        )
        # All before the request: from then on others may see it.
        self._key, self._standing, self._since = self._order + uuid.uuid4().hex, True, time.monotonic()
        with self._server.session(f"claiming {self._name!r}", timeout_seconds=self.timeout_seconds) as client:
            client.set_registered_model_tag(self._name, self._key, value)
        if stood:
            self._delete(old)

    def _claims(self) -> Mapping[str, str]:
        with self._server.session(f"reading the claims on {self._name!r}", timeout_seconds=10) as client:
            tags = client.get_registered_model(self._name).tags
        return {key: value for key, value in tags.items() if key.startswith(CLAIM_PREFIX)}

    def _withdraw(self) -> None:
        if self._standing:
            self._delete(self._key)
            self._standing = False

    def _delete(self, key: str) -> None:
        with self._server.session(f"giving {self._name!r} back", timeout_seconds=10) as client:
            client.delete_registered_model_tag(self._name, key)
