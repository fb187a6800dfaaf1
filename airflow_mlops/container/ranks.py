"""Run one of several processes of an attempt: ``python -m airflow_mlops.container.ranks --directory DIR ENTRYPOINT``.

Every pod of the attempt runs this same command. Which of the processes it is, the cluster says; where it does not, a
pod takes the first rank that is free. Either way the rank is claimed in the storage that keeps the results and never
given again, so a pod that the cluster makes anew starts nothing.

.. code-block:: text

    <job>/attempts/<name>/              the job directory of rank 0, whose output is the attempt's
    <job>/attempts/<name>.claim         made by the first process that starts
    <job>/ranks/<name>/request.json     what all of them are asked
    <job>/ranks/<name>/rank-<K>.claim   the pod that is rank K
    <job>/ranks/<name>/address          where rank 0 can be reached
    <job>/ranks/<name>/<K>/             the job directory of rank K
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_mlops.container.attempt import CLAIMED, AttemptFolder, share
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.container.launch import main as launch
from airflow_mlops.exceptions import ContractError, PeerLostError
from airflow_mlops.training.contract import REQUEST, Group, JobRequest, dump, parse_request
from airflow_mlops.training.indexed import ADDRESS_VARIABLE, POD_VARIABLE, RANK_VARIABLE

__all__ = ["RankFolder", "main", "rank_command"]

_ADDRESS = "address"
_LOOK_SECONDS = 0.2
#: Rank 0 may need a node to be made first.
_PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True)
class RankFolder:
    """What the processes of one attempt have in common.

    :param attempts: the job's folder
    :param name: the attempt
    """

    attempts: AttemptFolder
    name: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.attempts.path / "ranks" / self.name

    def directory(self, rank: int) -> JobDirectory:
        """Return the job directory of a rank."""
        return JobDirectory(self.path / str(rank)) if rank else self.attempts.directory(self.name)

    def prepare(self, request: JobRequest) -> None:
        """Make the folder with what all ranks are asked; safe to repeat."""
        for folder in (self.attempts.path, self.path.parent, self.path):
            share(folder)
        JobDirectory(self.path).write(REQUEST, dump(request))

    def request(self) -> JobRequest:
        """Return what all ranks are asked.

        :raises ContractError: if there is nothing, or nothing for a group
        """
        path = self.path / REQUEST
        try:
            text = path.read_text()
        except FileNotFoundError as error:
            raise ContractError(f"{path} is missing, so there is nothing to do") from error
        return parse_request(text, where=str(path))

    def claim(self, ranks: Sequence[int], who: str) -> int | None:
        """Take the first of these ranks that is free; None where none is."""
        for rank in ranks:
            try:
                handle = os.open(self._claim(rank), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664)
            except FileExistsError:
                continue
            with os.fdopen(handle, "w") as stream:
                stream.write(who)
                stream.flush()
                os.fsync(stream.fileno())
            return rank
        return None

    def owner(self, rank: int) -> str | None:
        """Return the pod that took a rank."""
        try:
            return self._claim(rank).read_text() or None
        except FileNotFoundError:
            return None

    def publish(self, address: str) -> None:
        """Say where rank 0 can be reached."""
        JobDirectory(self.path).write(_ADDRESS, address)

    def address(self) -> str | None:
        """Return where rank 0 can be reached, None before it is there."""
        try:
            return (self.path / _ADDRESS).read_text()
        except FileNotFoundError:
            return None

    def _claim(self, rank: int) -> Path:
        return self.path / f"rank-{rank}.claim"


def rank_command(python: str, directory: str, entrypoint: str) -> list[str]:
    """Return the command that runs any of an attempt's processes."""
    return [python, "-m", "airflow_mlops.container.ranks", "--directory", directory, entrypoint]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one process and return the script's exit code, or 128 and the signal's number, or ``CLAIMED``."""
    parser = argparse.ArgumentParser(prog="python -m airflow_mlops.container.ranks", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the attempt's job directory")
    parser.add_argument("entrypoint", help="path of a Python file, or name of a module")
    options = parser.parse_args(arguments)
    os.umask(0o002)
    name, attempts = options.directory.name, AttemptFolder(options.directory.parent.parent)
    folder = RankFolder(attempts, name)
    request = folder.request()
    if request.group is None:
        raise ContractError(f"{folder.path / REQUEST} is for one process")
    who = os.environ.get(POD_VARIABLE) or socket.gethostname()
    # From here on the attempt has begun and is not begun again, whatever becomes of this process.
    attempts.claim(name, who)
    rank = folder.claim(_ranks(request.group, os.environ), who)
    newer = [other for other in attempts.names() if other > name]
    if rank is None or newer:
        reason = f"attempt {newer[-1]} takes the place of this one" if newer else "its rank was started before"
        _say(f"{options.directory}: {reason}")
        return CLAIMED
    _say(f"rank {rank} of {request.group.world_size}")
    group = _meet(folder, replace(request.group, rank=rank), os.environ)
    directory = folder.directory(rank)
    share(directory.path)
    directory.write(REQUEST, dump(replace(request, output_uri=f"file://{directory.path}", group=group)))
    return launch(["--directory", str(directory.path), "--keep-output", options.entrypoint])


def _ranks(group: Group, environment: Mapping[str, str]) -> Sequence[int]:
    given = environment.get(RANK_VARIABLE)
    return range(group.world_size) if given is None else [int(given)]


def _meet(folder: RankFolder, group: Group, environment: Mapping[str, str]) -> Group:
    """Find out where rank 0 is; all the others wait until it has begun."""
    host, _, port = group.rendezvous.rpartition(":")
    if group.rank == 0:
        own = environment.get(ADDRESS_VARIABLE) or socket.gethostbyname(socket.gethostname())
        folder.publish(f"{f'[{own}]' if ':' in own else own}:{int(port) or _free_port()}")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (address := folder.address()) is None:
        if time.monotonic() > deadline:
            raise PeerLostError(f"rank 0 has not begun within {_PATIENCE_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
    # Only a pod that got its rank from the cluster has the name in DNS that the request says.
    named = f"{host}:{address.rpartition(':')[2]}"
    return replace(group, rendezvous=named if RANK_VARIABLE in environment else address)


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    # As a container's first process it would not notice while it waits for rank 0.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
