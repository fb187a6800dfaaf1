"""Routes of Argo Rollouts: Argo moves the weights by the steps of its ``Rollout``, this router says when.

Between the steps of a Rollout stand pauses without a duration. Weights are asked for as of any router; those of the
step after the pause release the pause, those of the whole canary promote it, and none aborts. Weights that no step
gives are an error: the steps of a :class:`~airflow_mlops.rollout.spec.RolloutSpec` and those of the Rollout have to be
the same.

What is not promised, because Argo decides: that weights change at once, or in the moment of the write (the fence is
stored before Argo is told, and Argo acts after that); a way back after the promotion, since Argo then knows the former
pods no more. ``kubectl argo rollouts promote`` by hand is seen as a change by another hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, ObjectKind, Operations
from airflow_mlops.adapters.traffic.fenced_object import FencedRouter, Live, Record, percentages
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.serving import ServerPhase, ServerStatus

__all__ = ["ArgoRolloutsRouter"]

#: The port is that of Argo's Services, which nobody here needs.
_PORT = 80
_PAUSE_OF_A_STEP = "CanaryPauseStep"


class ArgoRolloutsRouter(FencedRouter):
    """Routes as Argo Rollouts; implements :class:`airflow_mlops.rollout.ports.Router`.

    Targets are the ReplicaSets that Argo makes: ``<rollout>-<pod template hash>``, of ``status.stableRS`` and
    ``status.currentPodHash``.

    The rights needed are ``get``, ``list`` and ``patch`` of ``rollouts.argoproj.io``, and ``patch`` of their
    ``status``.

    :param objects: the namespace of the Rollouts
    :param name: name of a route's Rollout; ``{route}`` stands for the route
    """

    kind: ClassVar[ObjectKind] = ObjectKind(group="argoproj.io", version="v1alpha1", plural="rollouts", kind="Rollout")
    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "verify"})

    def set_weights(
        self, route: str, weights: Mapping[str, int], *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Release the pause before the step with these weights, promote, or abort; once or again.

        Going back (``expected_generation`` None) aborts also a canary that has no requests yet, so that none can come.

        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        :raises PermanentAdapterError: when a target is not known, or Argo's next step gives other weights
        :raises TransientAdapterError: when Argo has not carried out the step before
        :raises SpecificationError: when the weights do not sum to 100
        """
        super().set_weights(route, weights, fencing_token=fencing_token, expected_generation=expected_generation)
        if expected_generation is None:
            self._tell(route, self._aborting(route, fencing_token))
        return self.observe(route)

    def check_weights(self, weights: Mapping[str, int]) -> None:
        """Refuse weights that no step of the Rollout gives.

        :raises SpecificationError: naming those that its steps give
        """
        for name in {target.rpartition("-")[0] for target in weights}:
            document = self._objects.get(self.kind, name)
            if document is not None:
                _Progress(name, document).check_weights(weights)

    def live(self, route: str, document: Json, record: Record) -> Live:
        """Read the weights that Argo was told to give, which it may not have given yet."""
        progress = _Progress(route, document)
        weights = progress.weights()
        if weights != dict(record.weights) and progress.released() == dict(record.weights):
            weights = dict(record.weights)  # ours to finish: the record is written before Argo is told
        reasons = [
            one["reason"] for one in progress.status.get("pauseConditions") or () if one["reason"] != _PAUSE_OF_A_STEP
        ]
        edits = [f"Argo paused the Rollout: {reason}" for reason in reasons]
        if document["spec"].get("paused"):
            edits.append("the Rollout was paused (spec.paused)")
        return Live(weights=weights, targets=dict.fromkeys(progress.targets(), _PORT), edits=tuple(edits))

    def operations(self, route: str, document: Json, before: Record, after: Record) -> Operations:
        """Check that Argo can give these weights; the object itself stays as it is, its status is written after."""
        progress = _Progress(route, document)
        for name in after.targets:
            if name not in before.targets and name not in progress.targets():
                raise PermanentAdapterError(
                    f"route {route!r}: no such target {name}; Argo runs {' and '.join(progress.targets())}"
                )
        if after.targets != before.targets or not before.generation:
            progress.check_steps()
        progress.order(after.weights)
        return ()

    def carry_out(self, route: str, record: Record) -> None:
        """Tell Argo what the record says; nothing where it was told already."""
        if record.generation:
            self._tell(route, lambda document: self._ordered(route, document, record))

    def applied(
        self,
        route: str,
        document: Json,
        record: Record,
    ) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether ``status.canary.weights`` says that Argo gave the weights and, where it can, verified them.

        ``unsupported`` for a Rollout without traffic routing: its shares are those of pods, and no status says them.
        """
        progress = _Progress(route, document)
        if progress.is_behind() or progress.weights() != self.live(route, document, record).weights:
            return "pending"
        actual = (progress.status.get("canary") or {}).get("weights")
        if not actual:
            routed = document["spec"]["strategy"]["canary"].get("trafficRouting")
            return "pending" if routed else "unsupported"
        shares = {f"{progress.name}-{arm.get('podTemplateHash')}": arm["weight"] for arm in _arms(actual)}
        said = percentages(shares)
        return "ok" if said == progress.weights() and actual.get("verified") is not False else "pending"

    def servers(self) -> Mapping[str, ServerStatus]:
        """Return the stable and the current pods of all Rollouts of the namespace.

        Argo starts the pods of a step before it moves requests to them, so a canary that waits in a pause is ready.
        """
        found: dict[str, ServerStatus] = {}
        for document in self._objects.list(self.kind, {}):
            with suppress(TransientAdapterError, PermanentAdapterError):  # one that has no targets yet, or never will
                progress = _Progress(document["metadata"]["name"], document)
                found[progress.stable] = ServerStatus(name=progress.stable, phase="ready", port=_PORT)
                found.setdefault(progress.current, progress.canary())
        return found

    def _tell(self, route: str, decide: Any) -> Json:
        return self._objects.change(self.kind, self.object_name(route), decide, subresource="status")

    def _ordered(self, route: str, document: Json, record: Record) -> Operations:
        self._require_token(route, document, record.token)
        return _Progress(route, document).order(record.weights)

    def _aborting(self, route: str, token: int) -> Any:
        def decide(document: Json) -> Operations:
            self._require_token(route, document, token)
            progress = _Progress(route, document)
            return () if progress.is_over() or progress.is_aborted() else _ABORT

        return decide

    def _require_token(self, route: str, document: Json, token: int) -> None:
        newest = self.record(document).token
        if newest != token:
            raise StaleWriteError(f"route {route!r}: token {token} is older than {newest}; Argo was not told")


_ABORT: Operations = ({"op": "add", "path": "/status/abort", "value": True},)


class _Progress:
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
        return tuple(dict.fromkeys((self.stable, self.current)))

    def is_over(self) -> bool:
        return self.stable == self.current

    def is_aborted(self) -> bool:
        return bool(self.status.get("abort"))

    def is_behind(self) -> bool:
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
        return ServerStatus(name=self.current, phase=phase, port=_PORT, message=message)

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
                return _ABORT
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
        paused = any(one["reason"] == _PAUSE_OF_A_STEP for one in self.status.get("pauseConditions") or ())
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


def _arms(weights: Json) -> Sequence[Json]:
    return [weights["canary"], weights["stable"]]


def _shown(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {weight} %" for name, weight in sorted(weights.items()))
