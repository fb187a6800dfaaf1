from __future__ import annotations

import json

import pytest

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.contents import ModelContents, check_needed, contents_tags, image_tags

DIGEST = "sha256:" + "a" * 64


def test_libraries_and_columns_become_tags():
    inputs = [{"name": "hour", "type": "long", "required": True}]
    contents = ModelContents(
        requirements=("skops==0.16.0", "torch[cuda]==2.9 ; python_version > '3'", "own @ https://h/own-1.whl"),
        signature={"inputs": json.dumps(inputs), "outputs": None},
    )
    tags = contents_tags(contents)
    assert tags["mlops.requirements"].startswith("skops==0.16.0, torch[cuda]==2.9")
    assert json.loads(tags["mlops.signature"]) == {"inputs": inputs}
    wide = ModelContents(signature={"inputs": json.dumps([{"name": f"column{number}"} for number in range(5000)])})
    assert contents_tags(wide)["mlops.signature"].startswith("sha256:")
    assert contents_tags(ModelContents()) == contents_tags(ModelContents(requirements=(), signature={})) == {}


@pytest.mark.parametrize("line", ["skops", "skops>=0.16", "skops==0.*", "skops==0.16,!=0.17", "skops~=0.16", "-r more"])
def test_a_library_without_an_exact_version_is_refused(line):
    with pytest.raises(ContractError, match="names no exact version of"):
        contents_tags(ModelContents(requirements=("pandas==3.0.5", line)))


@pytest.mark.parametrize(
    ("image", "tags"),
    [
        (None, {}),
        (DIGEST, {"mlops.image": DIGEST}),
        (f"r/trainer@{DIGEST}", {"mlops.image": DIGEST, "mlops.image_uri": "r/trainer"}),
        ({"uri": "trainer:1", "digest": DIGEST}, {"mlops.image": DIGEST, "mlops.image_uri": "trainer:1"}),
    ],
)
def test_an_image_is_named_by_its_digest(image, tags):
    assert image_tags(image) == tags


@pytest.mark.parametrize("image", ["trainer:1", "trainer@sha256:12", {"uri": "trainer:1"}])
def test_an_image_without_a_digest_is_refused(image):
    with pytest.raises(SpecificationError, match="an encoded ImageRef"):
        image_tags(image)


def test_what_is_missing_is_named_all_at_once():
    tags = {"mlops.dataset.train": "sha256:1", "mlops.requirements": ""}
    assert [check.name for check in check_needed(tags, ["datasets"])] == ["datasets"]
    with pytest.raises(ContractError, match=r"would lack requirements \(save .*\); image \(hand over image\)\."):
        check_needed(tags, ["datasets", "requirements", "image"])
    with pytest.raises(SpecificationError, match=r"needs: .* expected some of 'datasets', 'evaluation'"):
        check_needed(tags, ["licence"])
