"""Argo's controller, which does not run in the test cluster, as far as it moves the weights of one Rollout.

It does what the controller's documentation and sources say: a pause without a duration waits until its condition is
taken away while ``controllerPause`` still says that there was one; an abort gives everything to the stable pods and
stays; a full promotion skips the rest of the steps.
"""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]
AT = "2026-01-01T00:00:00Z"


def new_template(document: Json, pods: str) -> Json:
    """Return the status after a new template was applied, whose pods have this hash."""
    status = reconciled(document)
    return {**status, "currentPodHash": pods, "abort": False, "currentStepIndex": 0, "controllerPause": False} | {
        "pauseConditions": [],
        "promoteFull": False,
    }


def reconciled(document: Json) -> Json:
    """Return the status that the controller writes next, until it has to wait."""
    status: Json = copy.deepcopy(document.get("status") or {})
    status["observedGeneration"] = str(document["metadata"]["generation"])
    steps = document["spec"]["strategy"]["canary"].get("steps", [])
    if status["currentPodHash"] == status["stableRS"]:
        return _weighed(status, 0)
    if status.get("abort"):
        status |= {"currentStepIndex": 0, "controllerPause": False, "pauseConditions": [], "phase": "Degraded"}
        return _weighed(status, 0)
    index = status.get("currentStepIndex", 0)
    while index < len(steps) and not status.get("promoteFull"):
        step = steps[index]
        if "pause" in step and not status.get("pauseConditions"):
            if not status.get("controllerPause"):
                status["pauseConditions"] = [{"reason": "CanaryPauseStep", "startTime": AT}]
                status["controllerPause"] = True
                break
            status["controllerPause"] = False
        elif "pause" in step:
            break
        index += 1
    status["currentStepIndex"] = index
    if index == len(steps) or status.get("promoteFull"):
        status |= {"stableRS": status["currentPodHash"], "promoteFull": False, "currentStepIndex": len(steps)}
        status |= {"pauseConditions": [], "controllerPause": False, "phase": "Healthy"}
        return _weighed(status, 0)
    given = [step["setWeight"] for step in steps[:index] if "setWeight" in step]
    return _weighed(status, given[-1] if given else 0)


def _weighed(status: Json, percent: int) -> Json:
    arms = {
        "canary": {"podTemplateHash": status["currentPodHash"], "weight": percent},
        "stable": {"podTemplateHash": status["stableRS"], "weight": 100 - percent},
    }
    return status | {"canary": {"weights": {**arms, "verified": True}}}
