"""Run one attempt of a job in a container: ``python -m airflow_mlops.container.attempt --directory DIR ENTRYPOINT``.

An attempt is run at most once, whatever the cluster does: the first process to claim it wins, and the claim is a file
made exclusively in the storage that keeps the results, so it outlives pods, nodes and workers. A process that finds a
newer attempt gives way to it.

.. code-block:: text

    <job>/attempts/<name>/         the attempt's job directory
    <job>/attempts/<name>.claim    who started the attempt's script
    <job>/checkpoints/             what the script keeps for the next attempt
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.container.launch import main as launch
from airflow_mlops.training.contract import REQUEST, JobRequest, dump

__all__ = ["CLAIMED", "AttemptFolder", "attempt_command", "main", "share"]

#: Exit code for "this attempt was started before, or a newer one takes its place".
CLAIMED = 76

# Containers and workers have different users; what they share is the group of the job's folder.
_SHARED_FOLDER = 0o2775


@dataclass(frozen=True)
class AttemptFolder:
    """The files of one job with all its attempts.

    :param path: the job's folder
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """What a script keeps for the next attempt."""
        return self.path / "checkpoints"

    def directory(self, name: str) -> JobDirectory:
        """Return the job directory of an attempt."""
        return JobDirectory(self.path / "attempts" / name)

    def names(self) -> list[str]:
        """Return the attempts that have left a trace here."""
        folder = self.path / "attempts"
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    def open(self) -> int:
        """Make the folder and return its group, which every process that writes here needs."""
        share(self.path)
        return self.path.stat().st_gid

    def prepare(self, name: str, request: JobRequest) -> None:
        """Make an attempt's directory with its request; safe to repeat until it is claimed.

        From here on older attempts give way to this one.
        """
        directory = self.directory(name)
        for folder in (self.path, self.checkpoints, directory.path.parent, directory.path):
            share(folder)
        directory.write(REQUEST, dump(request))

    def claims(self) -> frozenset[str]:
        """Return the attempts whose script was ever started."""
        folder = self.path / "attempts"
        return frozenset(claim.stem for claim in folder.glob("*.claim")) if folder.is_dir() else frozenset()

    def claim(self, name: str, who: str) -> bool:
        """Take an attempt for this process, and say whether it was free."""
        try:
            handle = os.open(self.path / "attempts" / f"{name}.claim", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w") as stream:
            stream.write(who)
            stream.flush()
            os.fsync(stream.fileno())
        return True


def attempt_command(python: str, directory: str, entrypoint: str) -> list[str]:
    """Return the command that runs an attempt."""
    return [python, "-m", "airflow_mlops.container.attempt", "--directory", directory, entrypoint]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the attempt and return the script's exit code, or 128 and the signal's number, or :data:`CLAIMED`."""
    parser = argparse.ArgumentParser(prog="python -m airflow_mlops.container.attempt", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the attempt's job directory")
    parser.add_argument("entrypoint", help="path of a Python file, or name of a module")
    options = parser.parse_args(arguments)
    os.umask(0o002)
    name, folder = options.directory.name, AttemptFolder(options.directory.parent.parent)
    if not folder.claim(name, socket.gethostname()):
        print(f"{options.directory}: this attempt was started before", file=sys.stderr)  # noqa: T201 - a command
        return CLAIMED
    newer = [other for other in folder.names() if other > name]
    if newer:
        print(f"{options.directory}: attempt {newer[-1]} takes the place of this one", file=sys.stderr)  # noqa: T201
        return CLAIMED
    return launch(["--directory", str(options.directory), "--keep-output", options.entrypoint])


def share(folder: Path) -> None:
    """Make a folder in which every process of the job's group may write."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(_SHARED_FOLDER)


if __name__ == "__main__":
    sys.exit(main())
