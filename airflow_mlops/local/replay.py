"""What the traffic generator should do: a document that a command writes and the supervisor acts on."""

from __future__ import annotations

import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.files import atomic_write_json, read_json
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.probes import Probe
from airflow_mlops.local.services import Service, service
from airflow_mlops.local.settings import Settings

__all__ = ["TRAFFIC", "Replay", "start_traffic", "stop_traffic", "traffic_service"]

TRAFFIC = "traffic"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Prepared requests and how to send them.

    :param requests: absolute path of the JSON Lines file with the requests
    :param model_name: the model that they are for
    :param rate_per_second: requests per second
    :param label_delay_seconds: how long after its request a label becomes known
    :param loop: start from the beginning again after the last request
    """

    requests: str
    model_name: str
    rate_per_second: float
    label_delay_seconds: float = 0.0
    loop: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be sent."""
        if not self.rate_per_second > 0:
            raise SpecificationError("rate", self.rate_per_second, "more than 0 requests per second")
        if self.label_delay_seconds < 0:
            raise SpecificationError("label-delay-seconds", self.label_delay_seconds, "0 or more seconds")
        if not self.model_name:
            raise SpecificationError("model-name", self.model_name, "the name of a model")


def start_traffic(home: LocalHome, replay: Replay) -> None:
    """Ask for traffic; another replay takes the place of the one before.

    :raises SpecificationError: if the file with the requests does not exist
    """
    if not Path(replay.requests).is_absolute() or not Path(replay.requests).is_file():
        raise SpecificationError("requests", replay.requests, "the path of a file that exists")
    atomic_write_json(home.traffic_desired, encode(replay))


def stop_traffic(home: LocalHome) -> bool:
    """Ask for no traffic; return whether there was any."""
    try:
        home.traffic_desired.unlink()
    except FileNotFoundError:
        return False
    return True


def traffic_service(home: LocalHome, settings: Settings) -> Service | None:
    """Return the service that sends what is desired, None when nothing is.

    :raises ContractError: if the document is not JSON
    :raises SpecificationError: if it says something impossible
    """
    document = read_json(home.traffic_desired)
    if document is None:
        return None
    replay = decode(Replay, document, where=str(home.traffic_desired))
    model = urllib.parse.quote(replay.model_name)
    command = (
        *(sys.executable, "-m", "airflow_mlops.local.traffic", "--requests", replay.requests),
        *("--rate", str(replay.rate_per_second)),
        *("--url", f"http://127.0.0.1:{settings.ports.gateway}/v2/models/{model}/infer"),
        *("--label-delay-seconds", str(replay.label_delay_seconds)),
        *("--labels", str(home.labels / replay.model_name / "labels.jsonl")),
        *("--trace", str(home.traffic / "trace.jsonl")),
        *(("--loop",) if replay.loop else ()),
    )
    return service(
        home, TRAFFIC, command, variables={}, cwd=home.traffic, probe=Probe(kind="alive"), after=("envoy",), once=True
    )
