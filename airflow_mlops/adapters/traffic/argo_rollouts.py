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

from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, ObjectKind, Operations
from airflow_mlops.adapters.traffic.argo_progress import ABORT, PAUSE_OF_A_STEP, PORT, Progress
from airflow_mlops.adapters.traffic.fenced_object import FencedRouter, Live, Record, percentages
from airflow_mlops.exceptions import PermanentAdapterError, StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.serving import ServerStatus

__all__ = ["ArgoRolloutsRouter"]


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
        wanted = {name: weight for name, weight in weights.items() if weight > 0}

        def decide(document: Json) -> Operations:
            self._require_token(route, document, fencing_token)
            progress = Progress(route, document)
            back = expected_generation is None and wanted == {progress.stable: 100}
            if back and not progress.is_over() and not progress.is_aborted():
                return ABORT
            return progress.order(wanted)

        self._objects.change(self.kind, self.object_name(route), decide, subresource="status")
        return self.observe(route)

    def check_weights(self, weights: Mapping[str, int]) -> None:
        """Refuse weights that no step of the Rollout gives.

        :raises SpecificationError: naming those that its steps give
        """
        for name in {target.rpartition("-")[0] for target in weights}:
            document = self._objects.get(self.kind, name)
            if document is not None:
                Progress(name, document).check_weights(weights)

    def live(self, route: str, document: Json, record: Record) -> Live:
        """Read the weights that Argo was told to give, which it may not have given yet."""
        progress = Progress(route, document)
        weights = progress.weights()
        if weights != dict(record.weights) and progress.released() == dict(record.weights):
            weights = dict(record.weights)  # ours to finish: the record is written before Argo is told
        reasons = [
            one["reason"] for one in progress.status.get("pauseConditions") or () if one["reason"] != PAUSE_OF_A_STEP
        ]
        edits = [f"Argo paused the Rollout: {reason}" for reason in reasons]
        if document["spec"].get("paused"):
            edits.append("the Rollout was paused (spec.paused)")
        return Live(weights=weights, targets=dict.fromkeys(progress.targets(), PORT), edits=tuple(edits))

    def operations(self, route: str, document: Json, before: Record, after: Record) -> Operations:
        """Check that Argo can give these weights; the object itself stays as it is, its status is written after."""
        progress = Progress(route, document)
        for name in after.targets:
            if name not in before.targets and name not in progress.targets():
                raise PermanentAdapterError(
                    f"route {route!r}: no such target {name}; Argo runs {' and '.join(progress.targets())}"
                )
        if after.targets != before.targets or not before.generation:
            progress.check_steps()
        if after.weights != before.weights:
            progress.order(after.weights)
        return ()

    def applied(
        self,
        route: str,
        document: Json,
        record: Record,
    ) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether ``status.canary.weights`` says that Argo gave the weights and, where it can, verified them.

        ``unsupported`` for a Rollout without traffic routing: its shares are those of pods, and no status says them.
        """
        progress = Progress(route, document)
        if progress.is_behind() or progress.weights() != self.live(route, document, record).weights:
            return "pending"
        actual = (progress.status.get("canary") or {}).get("weights")
        if not actual:
            routed = document["spec"]["strategy"]["canary"].get("trafficRouting")
            return "pending" if routed else "unsupported"
        shares = {
            f"{progress.name}-{arm.get('podTemplateHash')}": arm["weight"]
            for arm in (actual["canary"], actual["stable"])
        }
        said = percentages(shares)
        return "ok" if said == progress.weights() and actual.get("verified") is not False else "pending"

    def servers(self) -> Mapping[str, ServerStatus]:
        """Return the stable and the current pods of all Rollouts of the namespace.

        Argo starts the pods of a step before it moves requests to them, so a canary that waits in a pause is ready.
        """
        found: dict[str, ServerStatus] = {}
        for document in self._objects.list(self.kind, {}):
            with suppress(TransientAdapterError, PermanentAdapterError):  # one that has no targets yet, or never will
                progress = Progress(document["metadata"]["name"], document)
                found[progress.stable] = ServerStatus(name=progress.stable, phase="ready", port=PORT)
                found.setdefault(progress.current, progress.canary())
        return found

    def _require_token(self, route: str, document: Json, token: int) -> None:
        newest = self.record(document).token
        if newest != token:
            raise StaleWriteError(f"route {route!r}: token {token} is older than {newest}; Argo was not told")
