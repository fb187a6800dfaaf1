"""All sensors, each loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_mlops.sensors.data import DataReadySensor
    from airflow_mlops.sensors.model_version import ModelVersionSensor
    from airflow_mlops.sensors.rollout import RolloutSensor
    from airflow_mlops.sensors.training import TrainingSensor

__all__ = ["DataReadySensor", "ModelVersionSensor", "RolloutSensor", "TrainingSensor"]

_MODULES = {
    "DataReadySensor": "data",
    "ModelVersionSensor": "model_version",
    "RolloutSensor": "rollout",
    "TrainingSensor": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
