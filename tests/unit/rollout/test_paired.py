"""Pairs of answers: how they are counted, and that judging them a hundred times keeps the promises."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.pair_counts import PairCounts
from airflow_mlops.rollout.paired import judge_discordant, judge_pairs, judge_share
from airflow_mlops.rollout.pairing import Answer, Arm, Pairing
from airflow_mlops.rollout.replay import LoggedRequest, judge_replay, outcome, replay
from airflow_mlops.rollout.shadow_spec import AnswerCheck, DecisionCheck, ShadowSpec, SlownessCheck
from airflow_mlops.verdict import Verdict

FULL = ShadowSpec(
    answers=AnswerCheck(max_mean_difference=0.02),
    latency=SlownessCheck(slower_ms=20),
    labels=DecisionCheck(max_increase=0.02),
)


@dataclass
class Log:
    """A log that gives what it was given, once."""

    new: list[tuple[Arm, Answer]] = field(default_factory=list)
    new_labels: dict[str, int] = field(default_factory=dict)

    def answers(self) -> Iterable[tuple[Arm, Answer]]:
        new, self.new = self.new, []
        return new

    def labels(self) -> Mapping[str, int]:
        new, self.new_labels = self.new_labels, {}
        return new


def answer(key: str, prediction: float = 0.3, *, time: float = 100.0, ms: float = 5.0) -> Answer:
    return Answer(id=key, time=time, prediction=prediction, latency_ms=ms)


def test_a_pair_is_counted_once_whoever_came_first() -> None:
    pairing = Pairing(FULL)
    pairing.read(Log([("stable", answer("a")), ("candidate", answer("a", 0.32))]))
    pairing.read(Log([("candidate", answer("b", 0.9, ms=40)), ("stable", answer("b", 0.1)), ("stable", answer("c"))]))
    counts = pairing.counts
    assert (counts.pairs, counts.differing, counts.slower, counts.apart) == (2, 1, 1, 1)
    assert counts.difference_sum == pytest.approx(0.02 + 0.8)
    assert counts.difference_squares == pytest.approx(0.0004 + 0.64)


def test_answers_that_lie_far_apart_are_no_pair() -> None:
    pairing = Pairing(ShadowSpec(pair_seconds=10))
    pairing.add("stable", answer("a", time=100))
    pairing.add("candidate", answer("a", time=120))
    assert pairing.counts.pairs == 0
    pairing.add("stable", answer("a", time=125))
    assert pairing.counts.pairs == 1


def test_what_finds_no_partner_is_forgotten() -> None:
    pairing = Pairing(ShadowSpec(pair_seconds=10))
    for second in range(1000):
        pairing.add("stable", answer(str(second), time=second))
    assert len(pairing._waiting["stable"]) <= 22


def test_labels_say_who_was_right_before_and_after_the_pair() -> None:
    pairing = Pairing(FULL)
    pairing.read(Log([], {"early": 1}))
    pairs = [("early", 0.9, 0.1), ("late", 0.9, 0.1), ("never", 0.9, 0.1), ("alike", 0.9, 0.8)]
    for key, candidate, stable in pairs:
        pairing.read(Log([("stable", answer(key, stable)), ("candidate", answer(key, candidate))]))
    counts = pairing.read(Log([], {"late": 0, "alike": 0, "unknown": 1}))
    assert (counts.apart, counts.candidate_wrong, counts.stable_wrong) == (3, 1, 1)


def test_the_same_logs_give_the_same_counts_however_often_one_looked() -> None:
    generator = random.Random(3)
    rows: list[tuple[Arm, Answer]] = []
    for number in range(3000):
        key, time = str(number), number / 20
        rows.append(("stable", answer(key, generator.random(), time=time)))
        if number % 4:
            rows.append(("candidate", answer(key, generator.random(), time=time + generator.random() * 3)))
    rows.sort(key=lambda row: row[1].time)
    labels = {str(number): number % 2 for number in range(0, 3000, 3)}
    whole, parts = Pairing(FULL), Pairing(FULL)
    whole.read(Log(list(rows), dict(labels)))
    cut = 0
    while cut < len(rows):
        size = generator.randrange(1, 200)
        parts.read(Log(rows[cut : cut + size], labels if cut == 0 else {}))
        cut += size
    assert whole.counts.pairs == 2250
    assert parts.counts == whole.counts


def test_a_hundred_looks_at_a_candidate_within_the_bounds_fail_it_less_often_than_alpha() -> None:
    """All four checks at their bounds at once; alpha is split, so all together stay below it."""
    import numpy as np

    generator = np.random.default_rng(17)
    runs, per_look, failed = 100, 50, 0
    spec = ShadowSpec(
        answers=AnswerCheck(max_share=0.05, max_mean_difference=0.01),
        latency=SlownessCheck(slower_ms=20),
        labels=DecisionCheck(max_increase=0.0001),
    )
    for _ in range(runs):
        counts, at_fault = PairCounts(), False
        for _ in range(100):
            differences = generator.normal(0.01, 0.05, per_look)
            apart = int(generator.binomial(per_look, 0.1))
            wrong = int(generator.binomial(apart, 0.5))
            counts += PairCounts(
                pairs=per_look,
                differing=int(generator.binomial(per_look, 0.05)),
                difference_sum=float(differences.sum()),
                difference_squares=float((differences**2).sum()),
                slower=int(generator.binomial(per_look, 0.05)),
                apart=apart,
                candidate_wrong=wrong,
                stable_wrong=apart - wrong,
            )
            at_fault = at_fault or any(
                check.verdict is Verdict.FAIL for check in judge_pairs(counts, spec, ahead=False)
            )
        failed += at_fault
    assert failed <= runs * 0.05


def test_few_pairs_decide_nothing_and_say_how_many_more_would() -> None:
    (check,) = judge_pairs(PairCounts(pairs=50), ShadowSpec())
    assert check.verdict is Verdict.INCONCLUSIVE
    more = check.details["pairs_missing"]
    assert f"about {more} more would decide" in check.reason
    (decided,) = judge_pairs(PairCounts(pairs=50 + more), ShadowSpec())
    assert decided.verdict is Verdict.PASS
    (not_yet,) = judge_pairs(PairCounts(pairs=50 + more - 5), ShadowSpec())
    assert not_yet.verdict is Verdict.INCONCLUSIVE


def test_no_pairs_never_pass() -> None:
    assert {check.verdict for check in judge_replay(PairCounts(), FULL)} == {Verdict.INCONCLUSIVE}
    verdict, reason = outcome((), 0, FULL)
    assert verdict is Verdict.INCONCLUSIVE
    assert reason == "0 pairs were seen, 500 are needed"


def test_a_share_beyond_the_bound_fails_at_once() -> None:
    check = judge_share("x", 40, 100, 0.05, alpha=0.05, confidence=0.95, what="pairs differ")
    assert check.verdict is Verdict.FAIL
    assert check.reason.startswith("40 of 100 pairs differ: between 2")


@pytest.mark.parametrize(
    ("against", "in_favour", "discordant", "pairs", "verdict"),
    [
        (0, 0, 0, 1000, Verdict.PASS),  # they never parted
        (0, 0, 300, 1000, Verdict.INCONCLUSIVE),  # they part often, and nobody knows who was right
        (90, 210, 300, 1000, Verdict.PASS),  # the candidate is the better one
        (210, 90, 300, 1000, Verdict.FAIL),
        (30, 0, 30, 100_000, Verdict.PASS),  # worse beyond chance, by less than is tolerated
        (160, 140, 300, 1000, Verdict.INCONCLUSIVE),
    ],
)
def test_discordant_pairs(against: int, in_favour: int, discordant: int, pairs: int, verdict: Verdict) -> None:
    check = judge_discordant(
        "labels.wrong",
        against=against,
        in_favour=in_favour,
        discordant=discordant,
        pairs=pairs,
        max_increase=0.02,
        alpha=0.05,
        confidence=0.95,
        what="was wrong",
    )
    assert check.verdict is verdict, check.reason


def requests(count: int) -> list[LoggedRequest]:
    return [LoggedRequest(answer=answer(str(number), 0.3), features={"x": number}) for number in range(count)]


def test_a_replay_of_an_equal_candidate_passes() -> None:
    spec = ShadowSpec()
    pairs = replay(requests(600), lambda _: 0.31, spec, labels={})
    verdict, reason = outcome(judge_replay(pairs, spec), pairs.pairs, spec)
    assert (verdict, pairs.pairs) == (Verdict.PASS, 600), reason


def test_a_replay_ends_as_soon_as_it_has_shown_enough() -> None:
    asked: list[str] = []

    def fails(request: LoggedRequest) -> float | None:
        asked.append(request.answer.id)
        return None

    pairs = replay(requests(600), fails, ShadowSpec(), labels={})
    verdict, reason = outcome(judge_replay(pairs, ShadowSpec()), pairs.pairs, ShadowSpec())
    assert verdict is Verdict.FAIL
    assert "the candidate alone failed in 20" in reason
    assert len(asked) == 20


def test_a_replay_with_labels_finds_the_candidate_that_is_wrong_where_it_parts() -> None:
    spec = ShadowSpec(answers=AnswerCheck(tolerance=0.9), labels=DecisionCheck())
    labels = {str(number): 0 for number in range(600)}
    pairs = replay(requests(600), lambda request: 0.9 if int(request.answer.id) % 10 == 0 else 0.3, spec, labels=labels)
    verdict, reason = outcome(judge_replay(pairs, spec), pairs.pairs, spec)
    assert verdict is Verdict.FAIL
    assert "was wrong where they decided differently" in reason


@pytest.mark.parametrize("wrong", [{"pairs": 1, "differing": 2}, {"pairs": -1}])
def test_counts_that_contradict_themselves_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SpecificationError, match="PairCounts"):
        PairCounts(**wrong)
