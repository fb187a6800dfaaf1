"""``airflow mlops rollout simulate``, through Airflow's own command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

RULES = Path(__file__).parents[2] / "dags" / "flights" / "rollout.yaml"
USUAL = ("--requests-per-second", "80", "--error-rate", "0.01", "--runs", "100", "--seed", "7")


@pytest.fixture
def simulate(capsys):
    """Run the command; returns exit status, output and errors."""
    from airflow.cli.cli_parser import get_parser

    def run(*words, spec=RULES):
        args = get_parser().parse_args(["mlops", "rollout", "simulate", str(spec), *words])
        capsys.readouterr()
        status = 0
        try:
            args.func(args)
        except SystemExit as exit_:
            status = exit_.code
        return status, *capsys.readouterr()

    return run


def test_a_table_says_how_often_a_spec_would_be_wrong(simulate, tmp_path):
    page = tmp_path / "simulation.html"
    asked = ("--worse-by", "900%", "0.2", "--slower-by", "0.3", "--slow-share", "0.01", "--output", str(page))
    status, out, _ = simulate(*USUAL, *asked)
    assert status == 0
    assert out.splitlines()[0].startswith("CANDIDATE")
    assert [line.split("  ")[0] for line in out.splitlines()[1:5]] == [
        "equal",
        "errors +900%",
        "errors +0.2",
        "slow +0.3",
    ]
    assert re.search(r"false rollbacks: \d\.\d\d% \(\d\.\d\d% to \d\.\d\d%\), 5\.0% is allowed", out)
    assert "missed with errors +0.2: 0.00%" in out
    assert "100 rollouts each, seed 7" in out
    assert "<svg" in page.read_text()


def test_json_holds_all_numbers_and_the_same_seed_repeats_them(simulate):
    first, second = (simulate(*USUAL, "--worse-by", "0.2", "--json")[1] for _ in range(2))
    assert first == second
    found = json.loads(first)
    assert [one["name"] for one in found["scenarios"]] == ["equal", "errors +0.2"]
    assert found["scenarios"][1]["error_rate"] == pytest.approx(0.21)
    assert found["scenarios"][1]["mean_requests"] < found["scenarios"][0]["mean_requests"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--worse-by", "much"), "50% for half as many again"),
        (("--worse-by", "0"), "--worse-by"),
        (("--runs", "0"), "1 to 100000"),
        (("--output", "/nowhere/at/all.html"), "a file that can be written"),
        (("--autocorrelation", "1"), "below 1"),
    ],
)
def test_what_cannot_be_simulated_is_one_message(simulate, words, message):
    status, _, err = simulate(*USUAL, *words)
    assert status == 1
    assert message in err


def test_slowness_that_a_spec_does_not_judge_is_refused(simulate, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text("steps: [{weight_percent: 10}]\n")
    status, _, err = simulate(*USUAL, "--slow-share", "0.1", spec=spec)
    assert status == 1
    assert "does not judge it" in err


def test_past_traffic_takes_the_place_of_numbers(simulate, tmp_path):
    import numpy as np

    random = np.random.default_rng(7)
    rows = [f"{n},{random.binomial(n, 0.02)},0" for n in random.poisson(160, 200)]
    past = tmp_path / "past.csv"
    past.write_text("\n".join(["requests,errors,slow", *rows]))
    status, out, _ = simulate("--past", str(past), "--runs", "50", "--worse-by", "0.3")
    assert status == 0
    assert re.search(r"traffic like that of .*past\.csv: requests per second (79|80|81)\S*, error rate 0\.0[12]", out)
    assert "missed with errors +0.3: 0.00%" in out
    both = simulate("--past", str(past), "--requests-per-second", "80")
    assert both[0] != 0
    assert "nothing beside --past" in both[2]
    assert "or --past with a file" in simulate("--runs", "50")[2]
    assert "a file that can be read" in simulate("--past", str(tmp_path / "gone.csv"))[2]
