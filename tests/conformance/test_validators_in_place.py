"""What every engine that judges rows where they lie has to do; SQLite here, PostgreSQL and Spark in tests/system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("great_expectations")
pytest.importorskip("sqlalchemy")

from tests.in_place import Engine, checks, sqlite_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[Engine]:
    with sqlite_engine(tmp_path_factory.mktemp("sqlite")) as made:
        yield made


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_in_place(engine: Engine, check: Callable[[Engine], Any]):
    check(engine)
