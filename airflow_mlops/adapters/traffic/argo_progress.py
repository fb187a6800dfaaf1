"""Where an Argo Rollout stands, and what has to be written into its status so that it gives other weights.

The steps are seen as stages between pauses. Pure functions of the object; :mod:`argo_rollouts` reads and writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_mlops.adapters.kubernetes_objects import Json, Operations
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, TransientAdapterError
from airflow_mlops.rollout.serving import ServerPhase, ServerStatus

__all__ = ["ABORT", "PAUSE_OF_A_STEP", "PORT", "Progress"]

#: The port is that of Argo's Services, which nobody here needs.
PORT = 80
PAUSE_OF_A_STEP = "CanaryPauseStep"
ABORT: Operations = ({"op": "add", "path": "/status/abort", "value": True},)


class Progress:
    """Where a Rollout stands: its steps as stages between pauses, each with a weight."""

    def __init__(self, route: str, document: Json) -> None:
        self.route = route
        self.name: str = document["metadata"]["name"]
        self.status: Json = document.get("status") or {}
        self._generation: int = document["metadata"]["generation"]
        strategy = document["spec"].get("strategy") or {}
        if "canary" not in strategy:
            raise PermanentAdapterError(f"route {route!r}: Rollout {self.name} has no canary strategy")
        self._steps: Sequence[Json] = strategy["canary"].get("steps") or ()
        if not self.status.get("stableRS") or not self.status.get("currentPodHash"):
            raise TransientAdapterError(f"route {route!r}: Argo has not yet said which pods of {self.name} are stable")
        self.stable = f"{self.name}-{self.status['stableRS']}"
        self.current = f"{self.name}-{self.status['currentPodHash']}"

    def targets(self) -> tuple[str, ...]:
        """Return the stable and the current ReplicaSet, once if they are the same."""
        return tuple(dict.fromkeys((self.stable, self.current)))

    def is_over(self) -> bool:
        """Whether the current pods are the stable ones."""
        return self.stable == self.current

    def is_aborted(self) -> bool:
        """Whether the Rollout was aborted, by us or by anybody."""
        return bool(self.status.get("abort"))

    def is_behind(self) -> bool:
        """Whether Argo has yet to see the object as it is."""
        # A string: Argo once wrote a hash here.
        seen = str(self.status.get("observedGeneration") or self._generation)
        return seen.isdigit() and int(seen) < self._generation

    def check_steps(self) -> None:
        """Refuse steps by which Argo goes on without being told.

        :raises PermanentAdapterError: saying which
        """
        waits = False
        for index, one in enumerate(self._steps):
            where = f"route {self.route!r}: Rollout {self.name}, spec.strategy.canary.steps[{index}]"
            if "pause" in one:
                if (one["pause"] or {}).get("duration"):
                    raise PermanentAdapterError(
                        f"{where}: Argo goes on by itself after {one['pause']['duration']}; a pause has to have no "
                        "duration"
                    )
                waits = True
            elif "setWeight" in one:
                if not waits and one["setWeight"]:
                    raise PermanentAdapterError(f"{where}: no pause stands before this setWeight")
                waits = one["setWeight"] in (0, 100) and waits
        if not waits:
            raise PermanentAdapterError(
                f"route {self.route!r}: Rollout {self.name} has no pause at the end of its steps, so Argo promotes "
                "without being told"
            )

    def check_weights(self, weights: Mapping[str, int]) -> None:
        """Refuse weights that no step gives.

        :raises SpecificationError: naming those that the steps give
        """
        stages = range(sum("pause" in one for one in self._steps) + 1)
        possible = sorted({self._stage_weight(stage) for stage in stages})
        if weights.get(self.current, 0) not in possible:
            shown = ", ".join(f"{percent} %" for percent in possible)
            raise SpecificationError(
                "weights", dict(weights), f"what a step of Rollout {self.name} gives {self.current}: {shown}"
            )

    def weights(self) -> dict[str, int]:
        """Return the weights that Argo was told to give."""
        return self._split(self._told())

    def released(self) -> dict[str, int] | None:
        """Return the weights after the present pause, None where Argo does not wait in one."""
        if self.is_over() or self.is_aborted() or self.status.get("promoteFull") or not self._waits():
            return None
        return self._split(self._stage_weight(self._stage() + 1))

    def canary(self) -> ServerStatus:
        """Tell how the current pods are, as far as Argo says it."""
        message = str(self.status.get("message") or "")
        if self.is_aborted():
            return ServerStatus(name=self.current, phase="stopped", message=f"Argo aborted it: {message}")
        phase: ServerPhase = "starting" if self.is_behind() or not self._index_is_known() else "ready"
        return ServerStatus(name=self.current, phase=phase, port=PORT, message=message)

    def order(self, wanted: Mapping[str, int]) -> Operations:
        """Return what has to be written into the status so that Argo gives these weights.

        :raises PermanentAdapterError: if no order leads to them
        :raises TransientAdapterError: if Argo has to carry out another order first
        """
        told = self.weights()
        if told == dict(wanted):
            return ()
        if not self.is_over():
            if dict(wanted) == {self.stable: 100}:
                return ABORT
            if self.is_aborted():
                raise PermanentAdapterError(
                    f"route {self.route!r}: Rollout {self.name} was aborted; it goes on after a new template only"
                )
            if dict(wanted) == {self.current: 100}:
                return ({"op": "add", "path": "/status/promoteFull", "value": True},)
            if dict(wanted) == self.released():
                # Argo tells a pause that was released from one that has yet to begin by its controllerPause, which
                # therefore stays.
                return ({"op": "remove", "path": "/status/pauseConditions"},)
            if self._is_on_its_way(wanted):
                raise TransientAdapterError(
                    f"route {self.route!r}: Argo has not yet come to the pause of {_shown(told)} in {self.name}"
                )
        follows = self.released()
        raise PermanentAdapterError(
            f"route {self.route!r}: Argo's present step in {self.name} gives {_shown(told)}"
            f"{f', its next {_shown(follows)}' if follows else ''}; {_shown(wanted)} cannot be asked of it"
        )

    def _is_on_its_way(self, wanted: Mapping[str, int]) -> bool:
        stage = self._told_stage()
        return not self._waits() and dict(wanted) == self._split(self._stage_weight(stage + 1))

    def _split(self, percent: int) -> dict[str, int]:
        if self.is_over():
            return {self.stable: 100}
        shares = {self.current: percent, self.stable: 100 - percent}
        return {name: share for name, share in shares.items() if share}

    def _told(self) -> int:
        if self.is_aborted():
            return 0
        if self.status.get("promoteFull"):
            return 100
        return self._stage_weight(self._told_stage())

    def _told_stage(self) -> int:
        return self._stage() + self._is_released()

    def _index(self) -> int:
        return int(self.status.get("currentStepIndex") or 0)

    def _index_is_known(self) -> bool:
        return self.status.get("currentStepIndex") is not None

    def _in_pause(self) -> bool:
        index = self._index()
        return index < len(self._steps) and "pause" in self._steps[index]

    def _waits(self) -> bool:
        paused = any(one["reason"] == PAUSE_OF_A_STEP for one in self.status.get("pauseConditions") or ())
        return self._in_pause() and paused

    def _is_released(self) -> bool:
        """Whether the present pause was released and Argo has not gone on yet."""
        return self._in_pause() and bool(self.status.get("controllerPause")) and not self.status.get("pauseConditions")

    def _stage(self) -> int:
        return sum("pause" in one for one in self._steps[: self._index()])

    def _stage_weight(self, stage: int) -> int:
        """Return the weight in a stage; the one after the last pause is the promotion."""
        weight, pauses = 0, 0
        for one in self._steps:
            if "pause" in one:
                pauses += 1
            elif "setWeight" in one and pauses <= stage:
                weight = int(one["setWeight"])
        return weight if stage < pauses else 100


def _shown(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {weight} %" for name, weight in sorted(weights.items()))
