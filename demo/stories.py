"""The five stories. Each drives Airflow from outside, as a person would, and checks what it promises."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

from airflow_mlops.local.trace import longest_outage, read_trace, shares
from demo.airflow_api import FINAL_RUN_STATES, AirflowApi, TaskState
from demo.faults import PLANS, Assassin
from demo.flights import MONTHS, build_partitions, build_traffic, corrupt_partition, partition_path
from demo.stack import MODEL, Stack, WeightsRecorder
from demo.teller import StoryError, Teller, expect

REQUESTS_PER_SECOND = 50.0
RUN_TIMEOUT_SECONDS = 420.0
EDGE_SECONDS = 1.0
#: Share of a month's flights without which the monitor could not judge the month.
MIN_REPLAYED = 0.75
#: From an asset's event to the run that it starts.
SCHEDULING_SECONDS = 1.5
#: A killed part has to be back by then.
MAX_OUTAGE_SECONDS = 30.0
DAGS = {"ct_flights", "cd_flights", "monitor_flights", "ci_flights"}


class Stories:
    """All stories over one stack.

    :param stack: the stack that they run on; started where it is not running
    :param requests_per_second: rate of the live traffic
    """

    def __init__(self, stack: Stack, *, requests_per_second: float = REQUESTS_PER_SECOND) -> None:
        self.stack = stack
        self.rate = requests_per_second
        self.teller = Teller()

    # ---- parts of stories

    def prepare(self) -> None:
        """Stack up, data in place, DAGs parsed."""
        self.teller.say("the months' flights land")
        build_partitions(self.stack.home.data)
        if not self.stack.running():
            self.stack.up()
        deadline = time.monotonic() + 90
        while not self.api.dags() >= DAGS:
            if time.monotonic() > deadline:
                errors = "\n".join(self.api.import_errors()) or "no import errors are known"
                raise StoryError(f"Airflow does not show all of {sorted(DAGS)} after 90 s; {errors}")
            time.sleep(1)
        for dag_id in DAGS:
            self.api.pause(dag_id, paused=False)
        self.settle()

    def settle(self) -> None:
        """Wait for the runs that an earlier story has left: a release may follow the training that it started."""
        time.sleep(2 * SCHEDULING_SECONDS)
        for dag_id in ("monitor_flights", "ct_flights", "cd_flights"):
            for run in self.api.runs(dag_id):
                if run["state"] not in FINAL_RUN_STATES:
                    self.teller.say(f"{dag_id} {run['dag_run_id']} of an earlier story is still {run['state']}")
                    self.follow(dag_id, run["dag_run_id"])

    @property
    def api(self) -> AirflowApi:
        """Airflow's REST API."""
        return self.stack.api

    def run(self, dag_id: str, conf: dict[str, Any]) -> tuple[str, str, list[TaskState]]:
        """Start a run by hand and follow it; returns run id, state and tasks."""
        self.teller.say(f"{dag_id} starts with {json.dumps(conf)}")
        run_id = self.api.trigger(dag_id, conf)
        return (run_id, *self.follow(dag_id, run_id))

    def follow(self, dag_id: str, run_id: str) -> tuple[str, list[TaskState]]:
        """Follow a run to its end and say how it ended."""
        state, tasks = self.api.follow(
            dag_id, run_id, timeout_seconds=RUN_TIMEOUT_SECONDS, seen=self.teller.seen(dag_id)
        )
        self.teller.say(f"{dag_id} {run_id}: {state}")
        return state, tasks

    def train(self, month: str, **hyperparameters: Any) -> tuple[str, str, list[TaskState]]:
        """Run ct_flights for a month."""
        return self.run("ct_flights", {"month": month, "hyperparameters": hyperparameters})

    def release(self, month: str, **hyperparameters: Any) -> tuple[str, str]:
        """Train until the candidate is registered and follow the delivery that this starts; returns both run ids."""
        known = self.api.run_ids("cd_flights")
        training, state, tasks = self.train(month, **hyperparameters)
        expect(state == "success", f"ct_flights {training} ended as {state}: {self.failures('ct_flights', training)}")
        delivery = self.api.next_run("cd_flights", known, timeout_seconds=60)
        self.teller.say(f"the registered model started cd_flights {delivery}")
        state, tasks = self.follow("cd_flights", delivery)
        expect(state == "success", f"cd_flights {delivery} ended as {state}: {self.failures('cd_flights', delivery)}")
        del tasks
        return training, delivery

    def bootstrap(self) -> None:
        """Make sure that a champion serves."""
        self.prepare()
        if self.stack.alias("champion") is None:
            self.teller.say("there is no champion yet: the first one is trained on January and February")
            self.release("2013-02")
        champion = self.stack.alias("champion")
        expect(self.stack.weights() == {f"{MODEL}-v{champion}": 100}, "the champion does not get all traffic")

    def traffic(self, month: str, *, requests: int = 3000, loop: bool = True) -> None:
        """Start live traffic with the flights of a month."""
        path = build_traffic(
            self.stack.home.data, month, self.stack.home.data / "requests" / f"{month}-{requests}.jsonl",
            requests=requests,
        )  # fmt: skip
        self.stack.start_traffic(path, per_second=self.rate, loop=loop)
        self.teller.say(f"live traffic: {self.rate:.0f} requests/s, flights of {month}")

    def failures(self, dag_id: str, run_id: str) -> str:
        """Why the tasks that failed did so."""
        failed = [task for task in self.api.tasks(dag_id, run_id) if task.state == "failed"]
        return "; ".join(f"{task.label}: {self.api.error(dag_id, run_id, task)}" for task in failed)

    # ---- the stories

    def promote(self) -> dict[str, Any]:
        """Story 1: from nothing to a promoted model."""
        self.stack.reset()
        self.bootstrap()
        before = self.stack.alias("champion")
        self.traffic("2013-05")
        with WeightsRecorder(self.stack) as recorder:
            training, delivery = self.release("2013-03")
        after = self.stack.alias("champion")
        expect(after != before, f"the champion is still version {before}")
        expect(self.stack.weights() == {f"{MODEL}-v{after}": 100}, "the new champion does not get all traffic")
        return {
            "champion_before": before,
            "champion_after": after,
            "weights_over_time": recorder.changes,
            "verdicts": {
                "validation": self.verdicts("ct_flights", training, "validate"),
                "gate": self.verdicts("ct_flights", training, "gate"),
                "canary": self.verdicts("cd_flights", delivery, "canary"),
            },
        }

    def bad_data(self) -> dict[str, Any]:
        """Story 2: corrupted months stop at validation."""
        self.bootstrap()
        before, outcomes = self.stack.alias("champion"), {}
        for fault in ("schema", "delays", "missing"):
            source = self.corrupted("2013-03", fault)
            run_id, state, tasks = self.run("ct_flights", {"month": "2013-03", "source": source})
            states = {task.label: task.state for task in tasks}
            expect(state == "failed", f"{fault}: the run ended as {state}")
            expect("failed" in {states.get(f"validate[{i}]") for i in range(4)}, f"{fault}: validation let it pass")
            for later in ("train", "evaluate", "gate", "register"):
                expect(states.get(later) == "upstream_failed", f"{fault}: {later} is {states.get(later)}")
            outcomes[fault] = self.failures("ct_flights", run_id)
            self.teller.say(f"{fault}: {outcomes[fault]}")
        expect(self.stack.alias("champion") == before, "the champion changed")
        return {"champion": before, "stopped_at_validation": outcomes}

    def bad_model(self) -> dict[str, Any]:
        """Story 3: a worse candidate stops at the gate."""
        self.bootstrap()
        before, weights = self.stack.alias("champion"), self.stack.weights()
        run_id, state, tasks = self.train("2013-03", label_noise=0.5)
        states = {task.label: task.state for task in tasks}
        expect(state == "failed" and states["gate"] == "failed", f"the gate is {states['gate']}, the run {state}")
        expect(states["register"] == "upstream_failed", f"register is {states['register']}")
        expect(self.stack.alias("champion") == before, "the champion changed")
        expect(self.stack.weights() == weights, "the weights changed")
        reason = self.failures("ct_flights", run_id)
        self.teller.say(f"the gate says: {reason}")
        return {"champion": before, "gate": reason}

    def bad_canary(self) -> dict[str, Any]:
        """Story 4: what fails or is slow under traffic is rolled back; the next good model rolls out."""
        self.bootstrap()
        self.traffic("2013-05")
        before = self.stack.alias("champion")
        self.api.pause("cd_flights", paused=True)
        _, state, _ = self.train("2013-03", seed=7)
        expect(state == "success", f"ct_flights ended as {state}")
        version = self.stack.alias("challenger")
        self.api.pause("cd_flights", paused=False)
        outcomes: dict[str, Any] = {}
        for name, faults in (("errors", {"error_rate": 0.2}), ("slow", {"delay_ms": 400})):
            began = time.time()
            with WeightsRecorder(self.stack) as recorder:
                run_id, state, _ = self.run("cd_flights", {"version": version, "faults": faults})
            expect(state == "failed", f"{name}: the run ended as {state}")
            expect(self.stack.alias("champion") == before, f"{name}: the champion changed")
            expect(self.stack.weights().get(f"{MODEL}-v{version}", 0) == 0, f"{name}: it still gets traffic")
            outcomes[name] = {
                "reason": self.failures("cd_flights", run_id),
                "weights_over_time": recorder.changes,
                "shares": self.shares(f"{MODEL}-v{version}", recorder.changes, began),
            }
            self.teller.say(f"{name}: rolled back: {outcomes[name]['reason']}")
        self.release("2013-03", seed=11)
        after = self.stack.alias("champion")
        expect(after not in {before, version}, "the next good model was not promoted")
        return {"champion_before": before, "champion_after": after, "rolled_back": outcomes}

    def drift(self) -> dict[str, Any]:
        """Story 5: months pass until the monitor asks for a retraining, once."""
        self.bootstrap()
        if self.stack.trained_on("champion") != "2013-01, 2013-02, 2013-03":
            self.teller.say("the months pass for a champion of January to March, which is trained first")
            self.traffic("2013-04")
            self.release("2013-03")
        # This story ends with the retraining: a release would need traffic, and another champion ends the monitoring.
        self.api.pause("cd_flights", paused=True)
        champion, fired, looks = self.stack.alias("champion"), "", {}
        known = self.api.run_ids("ct_flights")
        for month in ("2013-05", "2013-06", "2013-07"):
            self.pass_month(month)
            run_id, state, tasks = self.run("monitor_flights", {"month": month})
            expect(state == "success", f"the monitor ended as {state}: {self.failures('monitor_flights', run_id)}")
            looks[month] = self.api.result("monitor_flights", run_id, "detect_drift")
            decided = {task.task_id: task.state for task in tasks}["decide_retraining"]
            self.teller.say(f"{month}: retraining {'asked for' if decided == 'success' else 'not asked for'}")
            if decided == "success":
                fired = month
                break
        expect(fired in {"2013-06", "2013-07"}, f"the monitor fired in {fired or 'no month'}; expected June or July")
        training = self.api.next_run("ct_flights", known, timeout_seconds=60)
        self.teller.say(f"the monitor's request started ct_flights {training}")
        run_id, _, tasks = self.run("monitor_flights", {"month": fired})
        again = {task.task_id: task.state for task in tasks}["decide_retraining"]
        expect(again == "skipped", f"the second look at {fired} ended as {again}; expected to be skipped")
        state, _ = self.follow("ct_flights", training)
        expect(state in {"success", "failed"}, state)
        self.api.pause("cd_flights", paused=False)
        started = self.api.run_ids("ct_flights") - known
        expect(started == {training}, f"retrainings: {sorted(started)}; expected one")
        return {"champion": champion, "fired": fired, "retraining": training, "ended": state, "looks": looks}

    def kills(self, plans: tuple[str, ...] = tuple(PLANS)) -> dict[str, Any]:
        """Story 6: any one process is killed at any moment; the story ends well, or fails and says why."""
        self.bootstrap()
        outcomes = {}
        for number, name in enumerate(plans):
            self.traffic("2013-05")
            before, began = self.stack.alias("champion"), time.time()
            assassin = Assassin(self.stack, self.teller, PLANS[name])
            assassin.start()
            try:
                self.release("2013-03", seed=100 + number)
                ended = "promoted"
            except StoryError as error:
                ended = str(error)
            assassin.finish()
            expect(len(assassin.kills) == len(PLANS[name]), f"{name}: not every victim was met: {assassin.kills}")
            after = self.stack.alias("champion")
            expect((ended == "promoted") == (after != before), f"{name}: {ended}, but the champion is version {after}")
            expect(self.stack.weights() == {f"{MODEL}-v{after}": 100}, f"{name}: weights are {self.stack.weights()}")
            outage = longest_outage(read_trace([self.stack.home.traffic / "trace.jsonl"], since=began))
            seconds = round(outage.seconds, 1) if outage else 0.0
            killed = [f"{kill.victim} during {kill.during}" for kill in assassin.kills]
            outcomes[name] = {"killed": killed, "ended": ended, "longest_outage_seconds": seconds}
            self.teller.say(f"{name}: {outcomes[name]}")
            expect(seconds <= MAX_OUTAGE_SECONDS, f"{name}: no request was answered for {seconds} s")
        return {"kills": outcomes}

    # ---- helpers of single stories

    def verdicts(self, dag_id: str, run_id: str, task_id: str) -> list[dict[str, Any]]:
        """What a task concluded, in a line or two; one entry for each mapped instance."""
        results = [
            _parsed(self.api.result(dag_id, run_id, task_id, map_index=task.map_index))
            for task in self.api.tasks(dag_id, run_id)
            if task.task_id == task_id
        ]
        return [_concluded(result) for result in results]

    def shares(self, server: str, changes: list[dict[str, Any]], began: float) -> list[dict[str, Any]]:
        """Compare what share of the requests a server got with its weight, for each time between two changes."""
        found = []
        ends = [*(change["at"] for change in changes[1:]), time.time()]
        for change, end in zip(changes, ends, strict=True):
            # A change is seen a little later than it is made: what was sent around it counts for neither side.
            since, until = max(began, change["at"]) + EDGE_SECONDS, end - EDGE_SECONDS
            answers = read_trace([self.stack.home.traffic / "trace.jsonl"], since=since, until=until)
            weight, share, n = change["weights"].get(server, 0) / 100, shares(answers).get(server, 0.0), len(answers)
            # Envoy draws per request: four standard deviations and one request are room for chance.
            room = 4 * (weight * (1 - weight) / max(n, 1)) ** 0.5 + 1 / max(n, 1)
            expect(
                share <= weight + room, f"{server} got {share:.1%} of {len(answers)} requests at weight {weight:.0%}"
            )
            found.append({"weight_percent": round(weight * 100), "share": round(share, 4), "requests": n})
            self.teller.say(f"  weight {weight:4.0%}: {share:6.1%} of {n} requests reached {server}")
        return found

    def corrupted(self, month: str, fault: str) -> str:
        """Make a folder of partitions in which one month is corrupted; returns its URI."""
        home = self.stack.home.data
        target = home / "corrupted" / fault
        for other in MONTHS:
            copy = partition_path(target, other)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if other == month:
                corrupt_partition(partition_path(home, month), copy, fault)
            elif not copy.exists():
                shutil.copyfile(partition_path(home, other), copy)
        return f"file://{target}/flights"

    def pass_month(self, month: str) -> None:
        """Replay a month's flights once and wait until they are answered and their labels have arrived."""
        requests, began = 2400, time.time()
        self.traffic(month, requests=requests, loop=False)
        deadline = time.monotonic() + requests / self.rate + 60
        trace = self.stack.home.traffic / "trace.jsonl"
        while (seen := sum(a.id.startswith(month) for a in read_trace([trace], since=began))) < requests:
            if time.monotonic() > deadline:
                # The generator sends by the clock: what a machine that is held up cannot send is dropped and counted.
                self.teller.say(f"{month}: {seen} of {requests} flights were asked for")
                expect(seen >= MIN_REPLAYED * requests, "too few for the monitor to judge the month by")
                break
            time.sleep(2)
        time.sleep(5)  # the last labels follow a second after their answers
        self.stack.stop_traffic()


def _parsed(value: Any) -> dict[str, Any]:
    return dict(json.loads(value) if isinstance(value, str) else value)


def _concluded(result: dict[str, Any]) -> dict[str, Any]:
    """Keep of a task's result what a person wants to read first."""
    kept: dict[str, Any] = {key: result[key] for key in ("verdict", "outcome", "reason", "report_uri") if key in result}
    if "dataset" in result:
        facts = result["summary"]
        kept["reason"] = f"{result['dataset']['partition']}: {facts['evaluated']} rules on {facts['rows']} rows"
    if "checks" in result:
        kept["reason"] = "; ".join(check["reason"] for check in result["checks"])
    return kept
