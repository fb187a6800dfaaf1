"""What runs beside the models: the training contract for scripts, the launcher, the evaluation, the model server.

Training scripts need three lines:

.. code-block:: python

    with training_job() as job:
        model = fit(job.paths("train"), **job.parameters)
        job.finish(metrics={"roc_auc": 0.7}, artifacts={"model": "model"})

Where several pods do the training, each is told by ``job.rank`` of ``job.world_size``; ``job.all_reduce`` adds up what
they have, and only rank 0 must finish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_mlops.container.job import TrainingJob, training_job

__all__ = ["TrainingJob", "training_job"]


def __getattr__(name: str) -> Any:
    """Load the helper on first use, so that importing the package costs nothing."""
    if name in __all__:
        from airflow_mlops.container import job

        return getattr(job, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
