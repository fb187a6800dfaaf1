"""What a thousand waiting rollouts cost the triggerer, beside a thousand waiting pods.

Each side runs in a process of its own, in Airflow's own ``TriggerRunner``. Neither talks to a network, which would be
the bottleneck of both: answers of an API server lie in memory, as the bytes that it would send. A look at a rollout is
the whole look, with the store and the router for clusters: it reads the HTTPRoute, the Lease and the counts, judges,
patches the Lease and writes the live page. What the API server does with the patch counts as ours, too. A look at a pod
decodes ``pod.json``: what a cluster answered about a running pod of a plain ``KubernetesPodOperator``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

COUNT, SECONDS = 1000, 60.0
#: The loop is asked this often whether it is late.
PROBE_SECONDS = 0.02
POD = json.dumps(json.loads((Path(__file__).parent / "pod.json").read_text()))


def spec(steps: int = 10, *, look_seconds: float, min_seconds: float) -> Any:
    """Rules of a rollout with ten steps."""
    from airflow_mlops.rollout.spec import CanaryStep, LatencyCheck, RolloutSpec

    return RolloutSpec(
        steps=tuple(
            CanaryStep(weight_percent=5 + 5 * number, min_seconds=min_seconds, min_requests=100)
            for number in range(steps)
        ),
        latency=LatencyCheck(slow_ms=250, max_increase=0.1),
        look_seconds=look_seconds,
        step_timeout_seconds=1e6,
        max_unknown_seconds=1e5,
    )


class ApiServer:
    """Leases and HTTPRoutes as an API server answers them; stands for a client's ``call_api``."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        self.documents: dict[str, Any] = dict(documents)
        self.answers = {path: json.dumps(document).encode() for path, document in documents.items()}

    def call_api(self, path: str, method: str, *, body: Sequence[Mapping[str, Any]] = (), **_: Any) -> Any:
        if method == "PATCH":
            document = self.documents[path]
            for operation in body:
                *parents, last = (part.replace("~1", "/") for part in operation["path"].split("/")[1:])
                place = document
                for part in parents:
                    place = place[part]
                if operation["op"] != "test":
                    place[last] = operation["value"]
                elif place[last] != operation["value"]:
                    raise SystemExit(f"{path} was changed meanwhile")
            document["metadata"]["resourceVersion"] = str(int(document["metadata"]["resourceVersion"]) + 1)
            self.answers[path] = json.dumps(document).encode()
        return SimpleNamespace(data=self.answers[path])

    def state_of(self, route: str) -> str:
        """Return the stored text of a rollout's state."""
        lease = next(answer for path, answer in self.answers.items() if path.endswith(f"/leases/rollout-{route}"))
        return next(
            str(text) for name, text in json.loads(lease)["metadata"]["annotations"].items() if name.endswith("/state")
        )


class GrowingCounters:
    """Counters that grow with time; the split is always right."""

    def __init__(self, share: float = 0.05) -> None:
        self.begun = time.time()
        self.share = share

    def read(self, targets: Sequence[str], *, slow_ms: int | None, tallies: Sequence[str] = ()) -> Mapping[str, Any]:
        from airflow_mlops.rollout.observation import ArmCounters

        LOOKS.append(1)
        now = time.time()
        requests = int((now - self.begun) * 1000)
        counts = (int(requests * self.share), int(requests * (1 - self.share)))
        return {
            name: ArmCounters(requests=n, errors=n // 200, timed=n, slow=n // 100, at=now)
            for name, n in zip(targets, counts, strict=True)
        }


def waiting_rollouts(count: int, look_seconds: float) -> Any:
    """Return an API server, and a gateway with rollouts under way that nothing will decide soon."""
    from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
    from airflow_mlops.adapters.traffic.gateway_api import HTTP_ROUTES, GatewayApiRouter
    from airflow_mlops.adapters.traffic.lease_store import LeaseRolloutStore
    from airflow_mlops.clock import SystemClock
    from airflow_mlops.rollout.look import Gateway
    from airflow_mlops.rollout.state import begin, intended_weights
    from airflow_mlops.testing.kubernetes_api import MemoryKubernetes

    rules = spec(look_seconds=look_seconds, min_seconds=9e5)
    made = MemoryKubernetes()
    objects = KubernetesObjects(made, "models")
    store, router = LeaseRolloutStore(objects, kind="gateway_api"), GatewayApiRouter(objects, reports_status=False)
    for number in range(count):
        route = f"m{number}"
        state = begin(spec=rules, model_name=route, candidate=f"{route}-v2", stable=f"{route}-v1", now=time.time())
        manifest = {"apiVersion": HTTP_ROUTES.api_version, "kind": "HTTPRoute", "metadata": {"name": route}}
        objects.create(HTTP_ROUTES, {**manifest, "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{}]}})
        lease = store.acquire(route, "dag", lease_seconds=1e6)
        TOKENS[route] = lease.token
        store.save(route, state, token=lease.token, renew=True)
        targets = {f"{route}-v1": 80, f"{route}-v2": 80}
        view = router.ensure_targets(route, targets, fencing_token=lease.token)
        router.set_weights(
            route, intended_weights(state), fencing_token=lease.token, expected_generation=view.generation
        )
    server = ApiServer(made.objects)
    objects = KubernetesObjects(server, "models")
    return server, Gateway(
        router=GatewayApiRouter(objects, reports_status=False),
        store=LeaseRolloutStore(objects, kind="gateway_api"),
        metrics=GrowingCounters(),
        clock=SystemClock(),
    )


def rollout_triggers(count: int, look_seconds: float) -> list[Any]:
    """Triggers of rollouts that wait."""
    from airflow_mlops.triggers.rollout import RolloutTrigger

    _, gateway = waiting_rollouts(count, look_seconds)

    class Waiting(RolloutTrigger):
        async def _open(self) -> Any:
            return gateway

    task = {"dag_id": "d", "run_id": "r", "task_id": "t"}
    return [
        Waiting(
            gateway_conn_id="g",
            route=route,
            token=token,
            look_seconds=look_seconds,
            task={**task, "map_index": number},
        )
        for number, (route, token) in enumerate(TOKENS.items())
    ]


def pod_triggers(count: int, look_seconds: float) -> list[Any]:
    """Triggers of pods that run."""
    import datetime as dt

    from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
    from kubernetes_asyncio.client import ApiClient, Configuration

    client = ApiClient(Configuration())

    class Hook:
        async def get_pod(self, name: str, namespace: str) -> Any:
            await asyncio.sleep(0)
            LOOKS.append(1)
            return client.deserialize(SimpleNamespace(data=POD), "V1Pod")  # type: ignore[arg-type]

    class Waiting(KubernetesPodTrigger):
        hook = Hook()  # type: ignore[assignment]

        async def _wait_for_pod_start_within_deadline(self) -> Any:
            return self.define_pod_container_state(await self._get_pod())

    began = dt.datetime.now(tz=dt.UTC)
    return [
        Waiting(
            pod_name=f"p{number}",
            pod_namespace="n",
            trigger_start_time=began,
            base_container_name="base",
            poll_interval=look_seconds,
            get_logs=False,
        )
        for number in range(count)
    ]


#: One entry per look of this process.
LOOKS: list[int] = []
#: Route to the token of its lease.
TOKENS: dict[str, int] = {}
SIDES = {"rollouts": rollout_triggers, "pods": pod_triggers}


@dataclass(frozen=True)
class Cost:
    """What one side cost."""

    rss_mib: float
    cpu_seconds: float
    looks: int
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float


def rss_mib() -> float:
    """Resident memory now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def run(side: str, count: int, look_seconds: float, seconds: float) -> Cost:
    """Let the triggers wait, in Airflow's runner, and measure once they all look."""
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    runner, triggers = TriggerRunner(), SIDES[side](count, look_seconds)
    tasks = []
    for number, trigger in enumerate(triggers):
        trigger.task_instance = None
        runner.triggers[number] = {"task": None, "is_watcher": False, "name": f"ID {number}", "events": 0}  # type: ignore[typeddict-item]
        tasks.append(asyncio.create_task(runner.run_trigger(number, trigger)))
        if number % 20 == 0:
            await asyncio.sleep(0.005)  # triggers come over time; at the same moment, they would all look together
    await asyncio.sleep(5.0)
    looked, before, until, lags = len(LOOKS), time.process_time(), time.monotonic() + seconds, []
    while time.monotonic() < until:
        asked = time.monotonic()
        await asyncio.sleep(PROBE_SECONDS)
        lags.append(1000 * (time.monotonic() - asked - PROBE_SECONDS))
    spent, looked = time.process_time() - before, len(LOOKS) - looked
    ended = [task for task in tasks if task.done()]
    if ended:
        raise SystemExit(f"{len(ended)} triggers ended: {ended[0]}")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    cuts = statistics.quantiles(lags, n=100)
    return Cost(rss_mib(), spent, looked, cuts[49], cuts[98], max(lags))


def measure_here(side: str, count: int, look_seconds: float, seconds: float) -> None:
    """Measure one side in this process and print it."""
    import logging

    import structlog

    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(json.dumps(asyncio.run(run(side, count, look_seconds, seconds)).__dict__))


def measure_apart(side: str, count: int, look_seconds: float, seconds: float) -> Cost:
    """Measure one side in a process of its own.

    :raises SystemExit: if it failed
    """
    options = ["--side", side, "--count", str(count), "--look-seconds", str(look_seconds), "--seconds", str(seconds)]
    command = [sys.executable, "-m", "tests.benchmarks.triggerer", *options]
    with tempfile.TemporaryDirectory() as root:
        variables = {**os.environ, "AIRFLOW__MLOPS__ARTIFACT_ROOT": f"file://{root}"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if done.returncode != 0:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def look_costs(ages: tuple[int, ...] = (10, 10_000)) -> list[str]:
    """What a look costs a rollout that has been looked at so often, and how large its state is."""
    server, gateway = waiting_rollouts(1, 2.0)
    token = TOKENS["m0"]
    done, costs = 0, []
    for age in ages:
        while done < age:
            gateway.metrics.begun -= 2.0
            gateway.look("m0", token=token)
            done += 1
        begun = time.process_time()
        for _ in range(100):
            gateway.metrics.begun -= 2.0
            gateway.look("m0", token=token)
        done += 100
        costs.append((10 * (time.process_time() - begun), len(server.state_of("m0"))))
    (first, small), (last, large) = costs
    what = f"one look after {ages[1]:,} looks"
    return [
        f"| {what}, processor | after {ages[0]} | {last:.2f} ms | {first:.2f} ms | | {last / first:.2f} | |",
        f"| {what}, stored state | after {ages[0]} | {large} bytes | {small} bytes | | {large / small:.2f} | |",
    ]


def measure(seconds: float = SECONDS, count: int = COUNT) -> list[str]:
    """Return the table's rows."""
    rows = []
    for look_seconds in (2.0, 10.0):
        ours = measure_apart("rollouts", count, look_seconds, seconds)
        peer = measure_apart("pods", count, look_seconds, seconds)
        head = f"{count:,} waiting rollouts, a look every {look_seconds:g} s"
        against = "as many `KubernetesPodTrigger`"
        for name, unit, mine, theirs in (
            ("memory", "MiB", ours.rss_mib, peer.rss_mib),
            (f"processor in {seconds:g} s", "s", ours.cpu_seconds, peer.cpu_seconds),
            ("processor per look", "ms", 1000 * ours.cpu_seconds / ours.looks, 1000 * peer.cpu_seconds / peer.looks),
            ("event loop late, median", "ms", ours.lag_p50_ms, peer.lag_p50_ms),
            ("event loop late, 99 %", "ms", ours.lag_p99_ms, peer.lag_p99_ms),
        ):
            more = f"{mine - theirs:.2f} {unit}"
            hold = f"≤ 100 ms: {'held' if mine <= 100 else 'NOT HELD'}" if name.endswith("99 %") else ""
            cells = (f"{head}: {name}", against, f"{mine:.2f} {unit}", f"{theirs:.2f} {unit}", more)
            rows.append("| " + " | ".join((*cells, f"{mine / max(theirs, 1e-9):.2f}", hold)) + " |")
    return rows + look_costs()


def main() -> None:
    """Measure all, or one side in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--look-seconds", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if options.side:
        measure_here(options.side, options.count, options.look_seconds, options.seconds)
    else:
        print("\n".join(measure(options.seconds, options.count)))


if __name__ == "__main__":
    main()
