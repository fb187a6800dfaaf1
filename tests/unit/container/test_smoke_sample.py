"""The sample beside a model."""

from __future__ import annotations

import pytest

from airflow_mlops.container.smoke import read_sample
from airflow_mlops.exceptions import ContractError


def test_rows_and_predictions_are_read(tmp_path):
    (tmp_path / "smoke.json").write_text('{"features": [{"a": 1}, {"a": null}], "predictions": [0.5, 1]}')
    sample = read_sample(tmp_path)
    assert sample.rows == ({"a": 1}, {"a": None})
    assert sample.predictions == (0.5, 1.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the model holds no smoke.json"),
        ("nonsense", "not a sample with features and predictions"),
        ('{"features": [{"a": 1}]}', "not a sample with features and predictions"),
        ('{"features": [3], "predictions": [0.5]}', "not a sample with features and predictions"),
        ('{"features": [{"a": 1}], "predictions": []}', "1 rows and 0 predictions"),
        ('{"features": [], "predictions": []}', "0 rows and 0 predictions"),
    ],
)
def test_what_is_no_sample_says_so(tmp_path, content, message):
    if content is not None:
        (tmp_path / "smoke.json").write_text(content)
    with pytest.raises(ContractError, match=message):
        read_sample(tmp_path)
