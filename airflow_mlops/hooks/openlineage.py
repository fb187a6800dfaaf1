"""What our tasks tell OpenLineage; loaded only when its provider asks."""

from __future__ import annotations

from typing import Any

from airflow_mlops.hooks.places import known_places

__all__ = ["lineage_of"]

# Fields that name something though they are no templates everywhere.
_MORE = ("model_name", "mlflow_conn_id", "image")


def lineage_of(operator: Any) -> Any:
    """Return what a task has read, made and decided so far, as the OpenLineage provider wants it.

    :param operator: the task, with what it remembers
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_mlops.adapters.lineage.openlineage import inputs_of, output_of, run_facets_of
    from airflow_mlops.governance.dataflow import dataflow_of
    from airflow_mlops.governance.flows import flow_of

    flow = dataflow_of(
        flow_of(cls.__name__ for cls in type(operator).__mro__),
        fields={name: getattr(operator, name, None) for name in (*operator.template_fields, *_MORE)},
        result=operator.outcome,
        evidence=[evidence for evidence, _, _ in operator.decided],
        places=known_places(),
    )
    return OperatorLineage(
        inputs=inputs_of(flow, operator.seen.get("profile")),
        outputs=[output_of(node) for node in flow.outputs],
        run_facets=run_facets_of(operator.decided),
    )
