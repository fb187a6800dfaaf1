"""CycloneDX documents, checked by the standard's own schema."""

from __future__ import annotations

import json

import pytest

from airflow_mlops.adapters.images.bill import BilledImage, bill_of_materials, check_bill
from airflow_mlops.adapters.images.commands import ImageCommand, digest_in
from airflow_mlops.exceptions import ContractError, SpecificationError

DIGEST = "sha256:" + "ab" * 32
IMAGE = BilledImage(name="airflow-mlops trainer", digest=DIGEST, created="2026-11-21T08:10:20.321480139Z", revision="r")


def said(**changes):
    def distribution(name, version, licence, path):
        return {"name": name, "version": version, "license": licence, "path": path}

    return {
        "system": {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian 12"},
        "python": {"version": "3.11.2", "path": "/usr/bin/python3.11"},
        "debian": [{"package": "libc6", "version": "2.36-9+deb12u4", "architecture": "amd64"}],
        "distributions": [
            distribution("scikit-learn", "1.9.1", "BSD-3-Clause", "/a"),
            distribution("numpy", "2.4.6", "BSD-3-Clause AND MIT", "/a"),
            distribution("numpy", "2.4.6", "", "/b"),
            distribution("numpy", "1.26.4", "BSD License", "/c"),
        ],
        **changes,
    }


def test_a_bill_keeps_to_the_standard_and_names_each_package_once():
    text = bill_of_materials(IMAGE, said())
    check_bill(text, where="the bill")
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    root = document["metadata"]["component"]
    assert (root["type"], root["name"], root["version"]) == ("container", "airflow-mlops trainer", DIGEST)
    assert document["metadata"]["timestamp"].startswith("2026-11-21T08:10:20")
    listed = {one.get("purl", one["name"]): one for one in document["components"]}
    assert sorted(listed) == [
        "debian",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12",
        "pkg:generic/python@3.11.2",
        "pkg:pypi/numpy@1.26.4",
        "pkg:pypi/numpy@2.4.6",
        "pkg:pypi/scikit-learn@1.9.1",
    ]
    assert listed["pkg:pypi/scikit-learn@1.9.1"]["licenses"][0]["license"]["id"] == "BSD-3-Clause"
    assert listed["pkg:pypi/numpy@2.4.6"]["licenses"][0]["expression"] == "BSD-3-Clause AND MIT"
    assert listed["pkg:pypi/numpy@1.26.4"]["licenses"][0]["license"]["name"] == "BSD License"
    places = listed["pkg:pypi/numpy@2.4.6"]["evidence"]["occurrences"]
    assert [place["location"] for place in places] == ["/a", "/b"]


def test_the_same_image_gives_the_same_bytes():
    shuffled = said(distributions=said()["distributions"][::-1])
    assert bill_of_materials(IMAGE, said()) == bill_of_materials(IMAGE, shuffled)


@pytest.mark.filterwarnings("error")
def test_an_image_may_hold_little():
    empty = BilledImage(name="x", digest=DIGEST, created="1970-01-01T00:00:00Z")
    document = json.loads(bill_of_materials(empty, said(system={}, debian=[], distributions=[])))
    assert [one["name"] for one in document["components"]] == ["python"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"system": {}}, "inventory.python: None is not accepted; expected a value: python is required"),
        (said(debian=[{"package": "x"}]), r"inventory\.debian\[0\]\.version"),
        ([], "inventory: "),
    ],
)
def test_an_image_that_says_something_else_is_refused(answer, message):
    with pytest.raises(SpecificationError, match=message):
        bill_of_materials(IMAGE, answer)


def test_what_is_no_bill_is_told():
    text = bill_of_materials(IMAGE, said())
    with pytest.raises(ContractError, match=r"mine is no CycloneDX 1\.6 document: "):
        check_bill(text.replace('"bom-ref"', '"bom_ref"'), where="mine")
    with pytest.raises(ContractError, match="mine is not JSON"):
        check_bill("no", where="mine")


@pytest.mark.parametrize("image", ["trainer:1", "trainer", "sha256:ab", f"@{DIGEST}", f"trainer:{DIGEST}", ""])
def test_only_a_digest_names_an_image_for_sure(image):
    with pytest.raises(SpecificationError, match="a reference that holds a digest"):
        ImageCommand(image=image, command=["true"])


def test_the_digest_of_a_reference():
    assert digest_in(DIGEST) == digest_in(f"registry:5000/team/trainer@{DIGEST}") == DIGEST


@pytest.mark.parametrize("command", ["true", [], ["sleep", 1], None])
def test_a_command_is_a_list_of_texts(command):
    with pytest.raises(SpecificationError, match=r"command: .* a list of texts: a program and its arguments"):
        ImageCommand(image=DIGEST, command=command)
