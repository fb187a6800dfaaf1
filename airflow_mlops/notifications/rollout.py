"""Telling a chat, or any other web service, what a rollout decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseHook, BaseNotifier, Context

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError

__all__ = ["RolloutNotifier"]


class RolloutNotifier(BaseNotifier):
    """Post one JSON document to a URL, with the decision as one sentence under ``text``: what chats take.

    For ``on_step``, ``on_rollback`` and ``on_promotion`` of
    :class:`~airflow_mlops.operators.rollout.CanaryRolloutOperator`, which accept any other notifier of Airflow's as
    well; templates find the decision under ``rollout``::

        CanaryRolloutOperator(
            ...,
            on_rollback=RolloutNotifier(http_conn_id="chat", message=":warning: {{ rollout.sentence }}"),
            on_promotion=SmtpNotifier(to="team@example.com", subject="{{ rollout.sentence }}", html_content="…"),
        )

    :param http_conn_id: connection whose host is the URL, with or without ``https://``; its extra may hold ``path``,
        its password is sent as a bearer token (templated)
    :param message: the text (templated)
    :param with_facts: whether to send all that templates find as ``rollout`` beside the text; some chats refuse what
        they do not know
    :param timeout_seconds: how long the service may take
    """

    template_fields: Sequence[str] = ("http_conn_id", "message")

    def __init__(
        self,
        *,
        http_conn_id: str,
        message: str = "{{ rollout.sentence }}",
        with_facts: bool = False,
        timeout_seconds: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.http_conn_id = http_conn_id
        self.message = message
        self.with_facts = with_facts
        self.timeout_seconds = timeout_seconds

    def notify(self, context: Context) -> None:
        """Post.

        :raises PermanentAdapterError: when the service does not take it
        """
        import httpx

        url, headers = self._target(BaseHook.get_connection(self.http_conn_id))
        try:
            answer = httpx.post(url, json=self._document(context), headers=headers, timeout=self.timeout_seconds)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PermanentAdapterError(f"connection {self.http_conn_id!r} does not answer: {error!r}") from error
        self._check(answer)

    async def async_notify(self, context: Context) -> None:
        """Post from a triggerer.

        :raises PermanentAdapterError: when the service does not take it
        """
        import httpx

        url, headers = self._target(await BaseHook.aget_connection(self.http_conn_id))
        async with httpx.AsyncClient(timeout=self.timeout_seconds) as client:
            try:
                answer = await client.post(url, json=self._document(context), headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise PermanentAdapterError(f"connection {self.http_conn_id!r} does not answer: {error!r}") from error
        self._check(answer)

    def _target(self, connection: Any) -> tuple[str, dict[str, str]]:
        host = connection.host
        if not host:
            raise SpecificationError(f"connection {self.http_conn_id!r}, host", host, "the service's URL")
        base = host.rstrip("/") if "://" in host else f"https://{host}"
        path = str(connection.extra_dejson.get("path") or "").lstrip("/")
        url = base + (f":{connection.port}" if connection.port else "") + (f"/{path}" if path else "")
        return url, {"Authorization": f"Bearer {connection.password}"} if connection.password else {}

    def _document(self, context: Mapping[str, Any]) -> dict[str, Any]:
        facts = {"rollout": dict(context.get("rollout") or {})} if self.with_facts else {}
        return {"text": self.message, **facts}

    def _check(self, answer: Any) -> None:
        if answer.status_code >= 400:
            # The address of a chat is a secret; its answer is not.
            said = " ".join(answer.text.split())[:200]
            raise PermanentAdapterError(f"connection {self.http_conn_id!r} answered {answer.status_code}: {said}")
