"""Watching a model for a DAG that is scheduled by an asset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer
from asgiref.sync import sync_to_async

from airflow_mlops.exceptions import ContractError, MLOpsError, TransientAdapterError
from airflow_mlops.triggers.events import to_payload

if TYPE_CHECKING:
    from airflow_mlops.governance.awaited import RegisteredVersion, Sighting

__all__ = ["ModelVersionTrigger"]


@dataclass
class _Look:
    """One look at a model, and how far each watcher has come once its events are stored."""

    seen: Sighting
    cursors: list[tuple[Any, str, str]] = field(default_factory=list)

    async def keep(self) -> None:
        """Store how far the watchers have come."""
        for store, key, cursor in self.cursors:
            await store.aset(key, {"seen": cursor})


class _Looks(SharedStreamProducer):
    """Looks at a model for all of its watchers; a watcher's cursor moves when Airflow has stored its events."""

    def __init__(self, conn_id: str, model_name: str, poll_seconds: float, log: Any) -> None:
        self._conn_id = conn_id
        self._model_name = model_name
        self._poll_seconds = poll_seconds
        self._log = log
        self._known: tuple[RegisteredVersion, ...] = ()

    async def open_stream(self) -> AsyncIterator[tuple[_Look, _Look]]:
        """Look for ever; a server that is away or refuses is asked again, and said to be so in the log."""
        while True:
            try:
                seen = await sync_to_async(self._see, thread_sensitive=False)()
            except TransientAdapterError as error:
                self._log.warning("%s", error)
            except (MLOpsError, AirflowException, AirflowRuntimeError):
                # Somebody has to mend the connection; ending here would only make Airflow begin again at once.
                self._log.exception("%s cannot be watched", self._model_name)
            else:
                one = _Look(seen)
                yield one, one
            await asyncio.sleep(self._poll_seconds)

    def _see(self) -> Sighting:
        from airflow_mlops.governance.awaited import Sighting
        from airflow_mlops.hooks.mlflow import MLflowHook

        after = self._known[-1].number if self._known else 0
        found = MLflowHook(self._conn_id).look(self._model_name, after=after)
        new = [one for one in found.versions if one.number > after]
        versions = {one.version: one for one in (*self._known, *found.versions)}
        # What is still being made is read again, and so is all after it.
        made = next((place for place, one in enumerate(new) if one.status == "PENDING_REGISTRATION"), len(new))
        self._known = (*self._known, *new[:made])
        return Sighting(aliases=found.aliases, versions=tuple(sorted(versions.values(), key=lambda one: one.number)))

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Store the cursors behind events that are in the database now."""
        for item in batch:
            if item.outcome.is_clean:
                await item.broker_payload.keep()


class ModelVersionTrigger(BaseEventTrigger):
    """Tells an asset of each new version of a model, or of each move of an alias, for an ``AssetWatcher``.

    .. code-block:: python

        trigger = ModelVersionTrigger(model_name="flights", alias="champion")
        champion = Asset("flights-champion", watchers=[AssetWatcher(name="mlflow", trigger=trigger)])

    The asset event's ``extra["payload"]`` is an encoded
    :class:`~airflow_mlops.governance.awaited.ModelVersionEvent`. How far the trigger has come is kept in the asset's
    state: no version is lost, and none is told of twice, when a triggerer stops, is replaced or was away. If a
    triggerer dies in the second between storing an event and storing that it did, the event comes twice, with the same
    ``key``. An alias that moves twice between two looks is told of once, and one that came back not at all. Airflow
    drops the state of an asset that no DAG uses any more; one that comes back begins anew.

    :param model_name: the registered model; it need not exist yet
    :param alias: ``champion`` or ``challenger``, to be told of its moves; None to be told of new versions
    :param tag: key of a tag without which a version is passed over; RegisterModelOperator writes its own, such as
        ``mlops.model_digest``, in the same step as the version
    :param after_version: where to begin, for a watcher that never ran: ``"0"`` tells of all versions there are. None
        begins with the first that comes after the first look. With an alias: what it is taken to have named before
    :param mlflow_conn_id: connection of type ``mlflow``
    :param poll_seconds: time between two looks; watchers of one model with equal times look together
    :param asset: name of the asset whose state keeps the cursor; needed only where several assets have a watcher with
        the same arguments, since Airflow runs one trigger for all of them
    """

    def __init__(
        self,
        *,
        model_name: str,
        alias: str | None = None,
        tag: str | None = None,
        after_version: str | None = None,
        mlflow_conn_id: str = "mlflow_default",
        poll_seconds: float = 30.0,
        asset: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model_name = model_name
        self.alias = alias
        self.tag = tag
        self.after_version = after_version
        self.mlflow_conn_id = mlflow_conn_id
        self.poll_seconds = poll_seconds
        self.asset = asset

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.model_version.ModelVersionTrigger",
            {
                "model_name": self.model_name,
                "alias": self.alias,
                "tag": self.tag,
                "after_version": self.after_version,
                "mlflow_conn_id": self.mlflow_conn_id,
                "poll_seconds": self.poll_seconds,
                "asset": self.asset,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """Name what is looked at; whoever looks at the same looks together."""
        return ("mlops.model_version", self.mlflow_conn_id, self.model_name, str(self.poll_seconds))

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Make the looks."""
        trigger = cls(**kwargs)
        return _Looks(trigger.mlflow_conn_id, trigger.model_name, trigger.poll_seconds, trigger.log)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Tell what is news."""
        from airflow_mlops.governance.awaited import Watched

        watched = Watched(model_name=self.model_name, alias=self.alias, tag=self.tag)
        store, key = self._store(), f"mlops.seen/{self.mlflow_conn_id}/{self.model_name}/{self.alias or 'versions'}"
        kept = await store.aget(key)
        cursor: str | None = kept["seen"] if kept else None
        async for one in shared_stream:
            if cursor is None:
                cursor = self.after_version if self.after_version is not None else watched.start(one.seen)
                await store.aset(key, {"seen": cursor})
                self.log.info("Watching %s from %r on", self.model_name, cursor)
            for event, behind in watched.news(one.seen, cursor):
                cursor = behind
                one.cursors.append((store, key, behind))
                if event is not None:
                    yield TriggerEvent(to_payload(event))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look alone, where Airflow does not share streams; a cursor moves when the next event is asked for."""
        producer = self.create_shared_stream_producer(self.serialize()[1])
        async for event in self.filter_shared_stream(_kept(producer)):
            yield event

    def _store(self) -> Any:
        stores = self.asset_state_store
        if stores is None:
            raise ContractError("ModelVersionTrigger is for an AssetWatcher: only an asset's state keeps its cursor")
        if self.asset is None:
            return stores
        from airflow.sdk.definitions.asset import AssetNameRef

        return stores[AssetNameRef(name=self.asset)]


async def _kept(producer: SharedStreamProducer) -> AsyncIterator[Any]:
    async for one, _ in producer.open_stream():
        yield one
        await one.keep()
