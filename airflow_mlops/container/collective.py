"""Sum vectors over several processes, each in a pod of its own, through rank 0.

Enough for training whose steps are sums over rows: statistics, gradients, histograms. Rank 0 adds the vectors in the
order of the ranks, so that a repetition gives the same bits. Libraries with collectives of their own, such as
``torch.distributed``, need only the job's rank, world size and rendezvous.

The protocol: whoever connects says which rank it is and of which job; then each round is one message of each rank and
one answer to each. A message is the round's number, how many numbers follow, and the numbers as doubles.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import sys
import time
from array import array
from collections.abc import Iterable, Sequence

from airflow_mlops.exceptions import ContractError, PeerLostError
from airflow_mlops.training.contract import Group

__all__ = ["Collective"]

_HELLO = struct.Struct("!6sI32s")
_HEAD = struct.Struct("!QI")
_MAGIC = b"mlops1"
#: Pods of one job start minutes apart where nodes must be made for them.
_PATIENCE_SECONDS = 3600.0
_HELLO_SECONDS = 10.0
#: How often somebody who waits says so.
_REMINDER_SECONDS = 30.0


class Collective:
    """The connections between one process and the others of its group; made on the first sum.

    :param group: the processes
    :param job_id: whose they are; a process of another job is not let in
    :param patience_seconds: how long to wait for the others to come
    """

    def __init__(self, group: Group, job_id: str, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._group = group
        self._token = hashlib.sha256(f"{job_id}\0{group.world_size}\0{group.rendezvous}".encode()).digest()
        self._patience_seconds = patience_seconds
        self._peers: dict[int, socket.socket] = {}
        self._round = 0

    def all_reduce(self, numbers: Iterable[float]) -> list[float]:
        """Return the sum of all ranks' vectors, the same for each of them; every rank must call it equally often.

        :param numbers: this rank's vector; all have the same length
        :raises PeerLostError: if another process has gone away, or does not come
        :raises ContractError: if the ranks disagree about the round or the length
        """
        own = array("d", numbers)
        if self._group.world_size == 1:
            return own.tolist()
        if not self._peers:
            self._peers = self._gather() if self._group.rank == 0 else {0: self._connect()}
        self._round += 1
        if self._group.rank:
            self._send(0, own)
            return self._receive(0, len(own)).tolist()
        vectors = [own, *(self._receive(rank, len(own)) for rank in sorted(self._peers))]
        total = array("d", map(sum, zip(*vectors, strict=True)))
        for rank in self._peers:
            self._send(rank, total)
        return total.tolist()

    def close(self) -> None:
        """Leave the group."""
        for peer in self._peers.values():
            peer.close()
        self._peers = {}

    def _gather(self) -> dict[int, socket.socket]:
        patience = _Patience(self._patience_seconds)
        peers: dict[int, socket.socket] = {}
        both, (_, port) = socket.has_dualstack_ipv6(), _split(self._group.rendezvous)
        family = socket.AF_INET6 if both else socket.AF_INET
        with socket.create_server(("", port), family=family, dualstack_ipv6=both) as server:
            server.settimeout(1.0)
            while missing := set(range(1, self._group.world_size)) - peers.keys():
                try:
                    connection, address = server.accept()
                except TimeoutError as error:
                    patience.wait(f"{_names(sorted(missing))} did not come to rank 0", error)
                    continue
                rank = self._welcome(connection)
                if rank in missing:
                    peers[rank] = _ready(connection)
                else:
                    _say(f"turned {address[0]} away, which is no rank of this job")
                    connection.close()
        return peers

    def _welcome(self, connection: socket.socket) -> int | None:
        connection.settimeout(_HELLO_SECONDS)
        try:
            magic, rank, token = _HELLO.unpack(_exactly(connection, _HELLO.size))
        except OSError:
            return None
        return int(rank) if (magic, token) == (_MAGIC, self._token) else None

    def _connect(self) -> socket.socket:
        patience = _Patience(self._patience_seconds)
        while True:
            try:
                # Names of pods appear in DNS a moment after the pods, and rank 0 listens when it gets there.
                connection = socket.create_connection(_split(self._group.rendezvous), timeout=_HELLO_SECONDS)
                connection.sendall(_HELLO.pack(_MAGIC, self._group.rank, self._token))
                return _ready(connection)
            except OSError as error:
                patience.wait(f"rank 0 does not answer at {self._group.rendezvous} ({error})", error)
                time.sleep(0.1)

    def _send(self, rank: int, numbers: array[float]) -> None:
        try:
            self._peers[rank].sendall(_HEAD.pack(self._round, len(numbers)) + _network(numbers).tobytes())
        except OSError as error:
            raise PeerLostError(f"rank {rank} has left the group: {error}") from error

    def _receive(self, rank: int, count: int) -> array[float]:
        try:
            number, length = _HEAD.unpack(_exactly(self._peers[rank], _HEAD.size))
            if (number, length) != (self._round, count):
                raise ContractError(
                    f"rank {rank} sent {length} numbers in round {number}, but rank {self._group.rank} has {count} in "
                    f"round {self._round}: every rank must sum equally often, and vectors of equal length"
                )
            numbers = array("d", _exactly(self._peers[rank], 8 * length))
        except OSError as error:
            raise PeerLostError(f"rank {rank} has left the group: {error}") from error
        return _network(numbers)


class _Patience:
    """Waits with a word now and then, for a log that says nothing looks like work."""

    def __init__(self, seconds: float) -> None:
        self._begun = time.monotonic()
        self._end = self._begun + seconds
        self._remind_at = self._begun + _REMINDER_SECONDS

    def wait(self, problem: str, error: OSError) -> None:
        now = time.monotonic()
        if now > self._end:
            raise PeerLostError(problem) from error
        if now > self._remind_at:
            self._remind_at = now + _REMINDER_SECONDS
            _say(f"{problem} within {now - self._begun:.0f} s; waiting")


def _ready(connection: socket.socket) -> socket.socket:
    """Wait for as long as the other side computes, but notice when its machine is gone."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        part = connection.recv(min(size - len(content), 1 << 20))
        if not part:
            raise ConnectionResetError("it closed the connection")
        content += part
    return bytes(content)


def _network(numbers: array[float]) -> array[float]:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the job's log


def _split(rendezvous: str) -> tuple[str, int]:
    host, _, port = rendezvous.rpartition(":")
    return host.strip("[]"), int(port)


def _names(ranks: Sequence[int]) -> str:
    return ("ranks " if len(ranks) > 1 else "rank ") + ", ".join(map(str, ranks))
