"""What the kernel says of this container's memory."""

from __future__ import annotations

from pathlib import Path

__all__ = ["killed_for_memory", "memory_limit"]

_ROOT = Path("/sys/fs/cgroup")


def killed_for_memory(root: Path = _ROOT) -> int:
    """Return how many processes of this container were killed for want of memory, 0 where the kernel does not tell.

    :param root: where the control groups are
    """
    for name in ("memory.events", "memory/memory.oom_control"):  # version 2, version 1
        for line in _lines(root / name):
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.strip().isdigit():
                return int(value)
    return 0


def memory_limit(root: Path = _ROOT) -> int | None:
    """Return how many bytes this container may use, None where the kernel does not tell or there is no limit.

    :param root: where the control groups are
    """
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        for line in _lines(root / name):
            if line.strip().isdigit():
                return int(line)
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
