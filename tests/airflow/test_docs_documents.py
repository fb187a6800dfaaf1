"""Every document that the documentation shows is read by what it is for."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import MLOpsError
from tests.documentation import ROOT, Block, blocks


def _policy(document: Any) -> None:
    import jsonschema

    from airflow_mlops.evaluation.policy import parse_policy
    from airflow_mlops.schemas import load_schema

    jsonschema.validate(document, load_schema("gate-policy-1"))
    parse_policy(document)


def _suite(document: Any) -> None:
    from airflow_mlops.validation.spec import parse_suite

    places = find_spec("great_expectations")
    assert places is not None
    core = Path((places.submodule_search_locations or [])[0]) / "expectations" / "core"
    for rule in parse_suite(document).rules:
        assert (core / f"{rule.type}.py").exists(), rule.type


def _rollout(document: Any) -> None:
    from airflow_mlops.rollout.spec import RolloutSpec

    decode(RolloutSpec, document)


def _shadow(document: Any) -> None:
    from airflow_mlops.rollout.shadow_spec import ShadowSpec

    decode(ShadowSpec, document)


def _monitoring(document: Any) -> None:
    from airflow_mlops.monitoring.spec import parse_policy

    parse_policy(document)


def _loading(document: Any) -> None:
    from airflow_mlops.loading import LoadingPolicy

    decode(LoadingPolicy, document)


def _diagnostics(document: Any) -> None:
    from airflow_mlops.evaluation.diagnostics import Diagnostics

    decode(Diagnostics, document)


def _card(document: Any) -> None:
    from airflow_mlops.governance.card_facts import read_text

    read_text(document)


def _chart(document: Any) -> None:
    import jsonschema

    jsonschema.validate(document, json.loads((ROOT / "helm/airflow-mlops/values.schema.json").read_text()))


def _inference_service(document: Any) -> None:
    from airflow_mlops.adapters.traffic.kserve_standard import ready, weights

    assert sum(weights("flights", document).values()) == 100
    assert len(ready(document)) == 2


def _argo_strategy(document: Any) -> None:
    from airflow_mlops.adapters.traffic.argo_progress import Progress

    assert set(document) == {"strategy"}
    status = {"stableRS": "a", "currentPodHash": "b"}
    Progress("m", {"metadata": {"name": "m", "generation": 1}, "spec": document, "status": status}).check_steps()


def _gateway(document: Any) -> None:
    """An extra of the connection type ``model_gateway``, or a part of one."""
    from airflow.sdk import Connection

    from airflow_mlops.adapters.serving.fleet_settings import FleetSettings
    from airflow_mlops.hooks.gateway_kinds import kind_named
    from airflow_mlops.hooks.metric_sources import open_metrics
    from airflow_mlops.provider_info import get_provider_info

    (form,) = (one for one in get_provider_info()["connection-types"] if one["connection-type"] == "model_gateway")
    assert document
    assert set(document) <= {*form["conn-fields"], "cluster_context", "in_cluster"}
    kind = kind_named(document.get("kind", "envoy"))
    assert set(document.get("router", {})) <= set(kind.options)
    if "serving" in document:
        decode(FleetSettings, {"namespace": document["namespace"], **document["serving"]})
    if "metrics" in document:
        there = Connection(conn_id="prometheus_default", conn_type="http", host="http://127.0.0.1")
        open_metrics(document["metrics"], envoy=lambda: None, read=lambda _: there, where="metrics")  # type: ignore[arg-type, return-value]


def _contract(document: Any) -> None:
    """A document that the package itself writes."""
    import jsonschema

    from airflow_mlops.schemas import load_schema, names

    kinds = [
        one for one in names() if not list(jsonschema.Draft202012Validator(load_schema(one)).iter_errors(document))
    ]
    assert kinds, "no JSON Schema of the package accepts this"


_READERS: Mapping[str, tuple[Callable[[Any], None], ...]] = {
    "yaml": (
        _policy,
        _suite,
        _rollout,
        _shadow,
        _monitoring,
        _loading,
        _diagnostics,
        _card,
        _chart,
        _inference_service,
        _argo_strategy,
    ),
    "json": (_gateway, _contract),
}


def _refusal(read: Callable[[Any], None], document: Any) -> str | None:
    from jsonschema import ValidationError

    try:
        read(document)
    except (MLOpsError, ValidationError, AssertionError, KeyError, TypeError, AttributeError, ValueError) as error:
        return f"{read.__name__}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return None


@pytest.mark.parametrize("block", blocks("yaml", "json"), ids=str)
def test_document(block: Block):
    document = yaml.safe_load(block.text) if block.language == "yaml" else json.loads(block.text)
    refusals = [_refusal(read, document) for read in _READERS[block.language]]
    assert None in refusals, "\n".join(map(str, refusals))


@pytest.mark.parametrize("block", blocks("ini"), ids=str)
def test_configuration(block: Block):
    from airflow.configuration import conf

    known = conf.configuration_description
    given = configparser.ConfigParser(interpolation=None)
    given.read_string(block.text)
    assert given.sections()
    for section in given.sections():
        assert {name for name in given[section] if name not in known[section]["options"]} == set()
