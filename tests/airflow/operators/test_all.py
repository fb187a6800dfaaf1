"""What every operator and every sensor must do, whoever wrote it."""

from __future__ import annotations

import inspect
import json

import pytest
from airflow.sdk import DAG

import airflow_mlops.operators as exported
from airflow_mlops import sensors

REF = {"uri": "file:///m", "digest": "sha256:" + "0" * 64, "format": "mlflow", "size_bytes": 1}
#: Required arguments that are no plain names.
VALUES = {
    "candidate": REF,
    "champion": REF,
    "dataset": REF,
    "datasets": {"train": [REF]},
    "drift": {"verdict": "fail"},
    "evaluation": {"evaluation_uri": "file:///e"},
    "model": REF,
    "policy": {},
    "spec": {},
    "suite": {"name": "s", "rules": []},
    "window": "2013-06",
}


def _required(operator: type) -> dict:
    parameters = inspect.signature(operator.__init__).parameters.values()
    names = [one.name for one in parameters if one.default is one.empty and one.kind is one.KEYWORD_ONLY]
    return {name: VALUES.get(name, "x") for name in names}


@pytest.fixture(params=[*exported.__all__, *sensors.__all__])
def operator(request) -> type:
    return getattr(exported if request.param in exported.__all__ else sensors, request.param)


def test_it_takes_keywords_only_and_templates_its_own_arguments(operator):
    parameters = inspect.signature(operator.__init__).parameters
    signatures = [inspect.signature(cls.__init__).parameters for cls in operator.__mro__]
    own = {name for one in signatures for name, given in one.items() if given.kind is given.KEYWORD_ONLY}
    theirs = {
        field
        for base in operator.__mro__
        if not base.__module__.startswith("airflow_mlops")
        for field in getattr(base, "template_fields", ())
    }
    assert set(operator.template_fields) - theirs <= own
    assert operator.template_fields, "an operator without templates cannot take another task's result"
    assert not [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD and name != "self"]


def test_it_only_stores_its_arguments(operator):
    """Values are templates until they are rendered: whatever they are, the constructor keeps them."""
    given = {name: f"{{{{ {name} }}}}" for name in _required(operator)}
    with DAG("stores", schedule=None):
        made = operator(task_id="t", **given)
    assert {name: getattr(made, name) for name in given} == given


def test_it_is_documented(operator):
    parameters = inspect.signature(operator.__init__).parameters
    own = [name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY]
    missing = [name for name in own if f":param {name}:" not in inspect.getdoc(operator)]
    assert not missing


def test_it_survives_serialisation(operator):
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("round_trip", schedule=None) as dag:
        made = operator(task_id="t", **_required(operator))
    document = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
    task = DagSerialization.deserialize_dag(document).get_task("t")
    assert task.task_type == operator.__name__
    assert set(task.template_fields) == set(operator.template_fields)
    assert sorted(task.extra_links) == sorted(link.name for link in made.operator_extra_links)


def test_it_can_be_mapped(operator):
    from airflow.serialization.serialized_objects import DagSerialization

    required = _required(operator)
    field = next(iter(operator.template_fields))
    rest = {name: value for name, value in required.items() if name != field}
    with DAG("mapped", schedule=None) as dag:
        operator.partial(task_id="t", **rest).expand(**{field: ["a", "b"]})
    document = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
    task = DagSerialization.deserialize_dag(document).get_task("t")
    assert task.is_mapped
    assert task.task_type == operator.__name__


def test_an_unknown_argument_is_refused(operator):
    with (
        pytest.raises(TypeError, match=r"unexpected keyword argument|Invalid arguments"),
        DAG("unknown", schedule=None),
    ):
        operator(task_id="t", **_required(operator), modle_name="typo")


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'TrainEverywhereOperator'"):
        _ = exported.TrainEverywhereOperator
    with pytest.raises(AttributeError, match="has no attribute 'EverythingSensor'"):
        _ = sensors.EverythingSensor
    assert set(exported.__all__) <= set(dir(exported))
    assert set(sensors.__all__) <= set(dir(sensors))
