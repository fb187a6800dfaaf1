"""The rights that the doctor asks for are those that the chart gives to workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

from airflow_mlops.cli.doctor.rights import Right, rights_of_jobs, rights_of_rollouts
from airflow_mlops.hooks.gateway_kinds import KINDS
from tests.helm.engine import Helm

pytest.importorskip("airflow")


def given(helm: Helm, **allow: Any) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for document in helm.documents({"airflow": {"allow": allow}}):
        if document["kind"] == "Role" and document["metadata"]["name"].endswith("-airflow-worker"):
            for rule in document["rules"]:
                for resource in rule["resources"]:
                    found[rule["apiGroups"][0], resource] |= set(rule["verbs"])
    return found


def asked(rights: Iterable[Right]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for right in rights:
        found[right.group, right.resource] |= set(right.verbs)
    return found


def test_rights_of_trainings(helm: Helm) -> None:
    assert asked(rights_of_jobs()) == given(helm, warmPods=True, jobs=True, rollouts="")
    needed = (one for one in rights_of_jobs() if not one.optional)
    assert asked(needed) == given(helm, warmPods=False, jobs=False, rollouts="")


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.in_cluster])
def test_rights_of_rollouts(helm: Helm, name: str) -> None:
    base = given(helm, warmPods=False, jobs=False, rollouts="")
    rollouts = given(helm, warmPods=False, jobs=False, rollouts=name)
    added = {what: verbs for what, verbs in rollouts.items() if what not in base}
    assert asked(rights_of_rollouts(KINDS[name])) == added
