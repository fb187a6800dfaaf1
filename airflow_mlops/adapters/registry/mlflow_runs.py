"""Tracking runs: opened once per key, closed with what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["RUN_KEY", "MLflowRuns", "RunStatus"]

#: Tag by which a repeated start finds the run of the first.
RUN_KEY = "mlops.run_key"
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
_CLOSED = ("FINISHED", "FAILED", "KILLED")


class MLflowRuns:
    """Opens and closes runs on a server.

    :param server: the tracking server
    """

    def __init__(self, server: MLflowServer) -> None:
        self._server = server

    def start(self, experiment: str, key: str, *, name: str, tags: Mapping[str, str]) -> str:
        """Return the run with this key, opened now if there is none; a closed one is opened again.

        :param experiment: name of the experiment, made if it does not exist
        :param key: identifies the run, the same for every try of one task
        :param name: what people see
        :return: the run's id
        """
        with self._server.session(f"starting a run in {experiment!r}") as client:
            return open_run(client, experiment, key, name=name, tags=tags)

    def finish(self, run_id: str, status: RunStatus) -> None:
        """Close a run.

        :param status: ``FINISHED``, ``FAILED`` or ``KILLED``
        """
        if status not in _CLOSED:
            raise SpecificationError("status", status, "one of " + ", ".join(_CLOSED))
        with self._server.session(f"finishing run {run_id}") as client:
            client.set_terminated(run_id, status=status)

    def url(self, run_id: str) -> str:
        """Address of a run's page for people.

        :raises PermanentAdapterError: if there is no such run
        """
        with self._server.session(f"looking up run {run_id}") as client:
            experiment = client.get_run(run_id).info.experiment_id
        return f"{self._server.tracking_uri}/#/experiments/{experiment}/runs/{run_id}"


def open_run(client: MlflowClient, experiment: str, key: str, *, name: str, tags: Mapping[str, str]) -> str:
    """Find a run by its key or create it, inside a session."""
    identifier = _experiment(client, experiment)
    found = client.search_runs([identifier], filter_string=f"tags.`{RUN_KEY}` = '{key}'", max_results=1)
    if found:
        run_id: str = found[0].info.run_id
        if found[0].info.status != "RUNNING":
            client.update_run(run_id, status="RUNNING")
        return run_id
    created = client.create_run(identifier, run_name=name, tags={**tags, RUN_KEY: key})
    return str(created.info.run_id)


def _experiment(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # somebody else was faster
    if found is None or found.lifecycle_stage != "active":
        raise PermanentAdapterError(f"experiment {name!r} is deleted in MLflow; restore it or choose another name")
    return str(found.experiment_id)
