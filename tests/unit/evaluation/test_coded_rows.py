"""Rows as numbers and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.evaluation.coded_rows import CodedRows
from airflow_mlops.evaluation.diagnostics import Diagnosed

np = pytest.importorskip("numpy", reason="rows are arrays")
pd = pytest.importorskip("pandas", reason="rows are frames")


def test_a_model_answers_coded_rows_as_it_answers_the_rows_themselves() -> None:
    seen: list[Any] = []

    def predict(frame: Any) -> Any:
        seen.append(frame)
        return np.nan_to_num(frame["x"].to_numpy()) + (frame["place"] == "b").to_numpy()

    rows = pd.DataFrame({"place": ["b", None, "a", "b"], "x": [1.0, 2.0, np.nan, 4.0], "other": 0})
    model = Diagnosed(predict=predict, scores=None, features={"place": "string", "x": "double"}, path=Path())
    coded = CodedRows.of(model, rows)
    assert coded.numbers[:, 0].tolist() == [1.0, 2.0, 0.0, 1.0]
    assert coded.predict(coded.numbers).tolist() == predict(rows).tolist()
    assert seen[0]["place"].isna().tolist() == [False, True, False, False]
    assert seen[0]["place"].dropna().tolist() == ["b", "a", "b"]
    assert np.isnan(seen[0]["x"].iloc[2])


def test_numbers_between_two_codes_count_as_the_nearer_one() -> None:
    rows = pd.DataFrame({"place": ["a", "b"]})
    model = Diagnosed(
        predict=lambda frame: frame["place"].tolist(), scores=None, features={"place": "string"}, path=Path()
    )
    coded = CodedRows.of(model, rows)
    *known, missing = coded.predict(np.array([[-3.0], [0.4], [0.6], [9.0]]))
    assert known == ["a", "a", "b"]
    assert missing not in known
