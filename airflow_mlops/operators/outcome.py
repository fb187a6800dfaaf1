"""How our errors and verdicts become Airflow's: what another try may mend is retried, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_mlops.exceptions import LeaseHeldError, MLOpsError, TransientAdapterError

if TYPE_CHECKING:
    from airflow_mlops.verdict import Verdict

__all__ = ["airflow_errors", "conclude"]


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Translate our errors; works as a decorator of ``execute`` too.

    :raises AirflowException: for what another try may mend: the outside is unreachable, a lease is held
    :raises AirflowFailException: for everything else that we raise on purpose; the task fails without a retry
    """
    try:
        yield
    except (TransientAdapterError, LeaseHeldError) as error:
        raise AirflowException(str(error)) from error
    except MLOpsError as error:
        raise AirflowFailException(str(error)) from error


def conclude(verdict: Verdict, message: str) -> None:
    """End the task if the verdict does not promote.

    :param message: one sentence with the reason
    :raises AirflowFailException: for ``FAIL`` and ``INCONCLUSIVE``; the task fails without a retry
    :raises AirflowException: for ``ERROR``, which another try may mend
    """
    from airflow_mlops.verdict import Verdict

    if verdict.promotes:
        return
    text = f"{verdict.value}: {message}"
    raise AirflowException(text) if verdict is Verdict.ERROR else AirflowFailException(text)
