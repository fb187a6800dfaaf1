"""Workers that are killed between any two calls about a custom resource: the next try ends well, with one training."""

from __future__ import annotations

import pytest

from tests.system.kubernetes.controllers import RAY_JOB, TRAIN_JOB, complete
from tests.system.kubernetes.test_kills import killed, result_of, work, workers  # noqa: F401

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    # Airflow's hook leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

# One for each state that a dead worker can leave behind; a worker takes seconds to start.
PLACES = [
    ("before the resource is made", False),
    ("after the resource was made", True),
    ("woken by the resource", True),
    ("after the resource was removed", False),
]


@pytest.mark.parametrize(("place", "deferrable"), PLACES)
def test_a_try_after_a_killed_one_succeeds_and_the_script_ran_once(
    work,  # noqa: F811 - the fixture
    resource_arguments,
    controller,
    runs,
    place,
    deferrable,
):
    kind, name = (RAY_JOB, "TrainWithRayOperator") if deferrable else (TRAIN_JOB, "TrainWithKubeflowOperator")

    def play(self, document):
        assert self.run_here(document) == 0
        self.say(document, complete(kind))

    operator = {"class": name, **resource_arguments(kind, deferrable=deferrable)}
    with controller(kind, play) as played:
        killed(work(operator, kill=place))
        again = result_of(work(operator))
        assert again["state"] == "success", again["messages"]
        assert len(played.played) == 1
        assert played.objects() == []
    assert len(runs()) == 1
