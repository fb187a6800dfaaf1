"""Weights as numbers of pods, and the order in which pods come and go."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_mlops.adapters.traffic.replica_counts import grain, next_counts, replica_counts
from airflow_mlops.exceptions import SpecificationError

TOTALS = st.integers(1, 400)


@pytest.mark.parametrize(
    ("total", "step"), [(2, 50), (3, 100), (8, 25), (10, 10), (20, 5), (25, 4), (30, 10), (100, 1)]
)
def test_so_many_pods_make_shares_in_such_steps(total, step):
    assert grain(total) == step


def test_a_share_that_cannot_be_made_names_the_nearest():
    with pytest.raises(
        SpecificationError, match=r"weights\.m-v2: 25 .* 10 pods .* multiple of 10 %; the nearest are 20 % and 30 %"
    ):
        replica_counts({"m-v1": 70, "m-v2": 25}, 10)


@given(total=TOTALS, share=st.integers(0, 100))
def test_counts_are_exactly_the_shares_or_refused(total, share):
    weights = {"stable": 100 - share, "canary": share}
    if share * total % 100:
        with pytest.raises(SpecificationError):
            replica_counts(weights, total)
        return
    counts = replica_counts(weights, total)
    assert sum(counts.values()) == total
    assert all(counts[name] * 100 == weights[name] * total for name in weights)


@st.composite
def situations(draw):
    """Numbers of pods of up to four targets, on the way to some others."""
    names = [f"m-v{number}" for number in range(1, draw(st.integers(1, 4)) + 1)]
    live = {name: draw(st.integers(0, 12)) for name in names}
    ready = {name: draw(st.integers(0, live[name])) for name in names}
    wanted = {name: draw(st.integers(0, 12)) for name in names}
    assume(sum(wanted.values()))
    return live, ready, wanted


def kept(live, ready, counts):
    """Ready pods that are surely left, as those that are not ready go first."""
    return sum(min(ready[name], counts[name]) for name in live)


@given(situations())
def test_ready_pods_never_become_fewer_than_are_wanted(situation):
    live, ready, wanted = situation
    counts = next_counts(live, ready, wanted)
    assert kept(live, ready, counts) >= min(sum(ready.values()), sum(wanted.values()))


@given(situations())
def test_numbers_only_go_towards_the_wanted_ones(situation):
    live, ready, wanted = situation
    counts = next_counts(live, ready, wanted)
    for name, number in counts.items():
        assert min(live[name], wanted[name]) <= number <= max(live[name], wanted[name])
        if wanted[name] >= live[name]:
            assert number == wanted[name]
    assert next_counts(live, ready, wanted, at_once=True) == wanted


@given(total=st.integers(1, 50), before=st.integers(0, 50), after=st.integers(0, 50))
def test_a_share_never_overshoots(total, before, after):
    """While pods are exchanged, a growing target has at most the share that it shall have."""
    before, after = min(before, total), min(after, total)
    live, wanted = {"a": total - before, "b": before}, {"a": total - after, "b": after}
    counts = next_counts(live, live, wanted)
    for name, number in live.items():
        if wanted[name] > number:
            assert counts[name] * total <= wanted[name] * sum(counts.values())


@given(situations(), st.data())
def test_pods_that_get_ready_in_any_order_lead_to_the_wanted_numbers(situation, data):
    live, ready, wanted = situation
    for _ in range(40):
        live = next_counts(live, ready, wanted)
        ready = {name: min(ready[name], live[name]) for name in live}
        if live == wanted:
            return
        late = [name for name in live if ready[name] < live[name]]
        if late:
            name = data.draw(st.sampled_from(late))
            ready[name] = data.draw(st.integers(ready[name] + 1, live[name]))
    raise AssertionError(f"{live} never became {wanted}")


@given(situations())
def test_nothing_goes_while_what_shall_replace_it_is_not_ready(situation):
    live, _, wanted = situation
    ready = {name: (live[name] if wanted[name] <= live[name] else 0) for name in live}
    assume(sum(ready.values()) <= sum(wanted.values()))
    assume(any(wanted[name] > live[name] for name in live))
    counts = next_counts(live, ready, wanted)
    assert all(counts[name] >= live[name] for name in live)
