"""The evidence of a look as figures: estimates, intervals, evidence of harm, and what would decide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airflow_mlops.rollout.metric import Metric, metrics_of
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.verdict import CheckResult

__all__ = ["Figures", "figures_of"]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is known of one metric in the present step, as text.

    :param name: of the metric
    :param what: what is counted as a failure
    :param candidate: failures of how many, and their share
    :param stable: the same of the stable model
    :param increase: estimate and 95 % interval
    :param harm: evidence, and what would show harm
    :param proof: the bound that the last try reached, and what is tolerated
    :param missing: what would decide
    """

    name: str
    what: str
    candidate: str
    stable: str
    increase: str
    harm: str
    proof: str
    missing: str


def figures_of(state: RolloutState) -> tuple[Figures, ...]:
    """Return the figures of the last judgement, metric by metric; none before the first."""
    checks = {check.name: check for check in state.checks}
    return tuple(
        _figures(state, metric, checks[f"{metric.name}.harm"], checks.get(f"{metric.name}.proof"))
        for metric in metrics_of(state.spec)
        if f"{metric.name}.harm" in checks
    )


def _figures(state: RolloutState, metric: Metric, harm: CheckResult, proof: CheckResult | None) -> Figures:
    counts = {key: harm.details.get(key) for key in ("failures", "baseline_failures", "baseline_sample_size")}
    low, high = harm.details.get("increase_low"), harm.details.get("increase_high")
    seen = bool(harm.sample_size and counts["baseline_sample_size"])
    return Figures(
        name=metric.name,
        what=f"{metric.unit} that {metric.noun}",
        candidate=_share(counts["failures"], harm.sample_size),
        stable=_share(counts["baseline_failures"], counts["baseline_sample_size"]),
        increase=f"{harm.details['increase']:+.2%} ({low:+.2%} to {high:+.2%})" if seen else "",
        harm=_harm(harm),
        proof=_proof(proof),
        missing=_missing(state, (check for check in (harm, proof) if check is not None), metric),
    )


def _share(failures: int | None, trials: int | None) -> str:
    if failures is None or not trials:
        return "none yet" if not trials else f"{trials:,}"
    return f"{failures:,} of {trials:,} ({failures / trials:.2%})"


def _harm(check: CheckResult) -> str:
    if check.value is None or check.threshold is None:
        return "not tested yet"
    if "e_value" in check.details:
        return f"e-value {check.value:.3g}, {check.threshold:.3g} shows it"
    if "bound" in check.details:
        return f"{check.value:.0f} failures at the last test, more than {check.threshold:.0f} show it"
    return f"shift of at least {check.value:+.3%}, above {check.threshold:.3%} shows it"


def _proof(check: CheckResult | None) -> str:
    if check is None:
        return "not asked for in this step"
    if check.high is None or check.threshold is None:
        return "not yet"
    return (
        f"{'shown' if check.verdict.promotes else 'open'}: at most {check.high:+.2%}, {check.threshold:.2%} tolerated"
    )


def _missing(state: RolloutState, checks: Iterable[CheckResult], metric: Metric) -> str:
    """Return what would decide; a proof that is shown needs nothing more."""
    words = []
    for check in checks:
        if check.verdict.promotes and check.name.endswith(".proof"):
            return "proof is shown"
        if "requests_missing" in check.details:
            kind = "proof" if check.name.endswith(".proof") else "harm"
            more = check.details["requests_missing"]
            if more is not None:
                words.append(f"{kind} with about {more:,} more {metric.unit}")
            elif kind == "proof":
                words.append(f"no number of {metric.unit} at these rates would prove it")
        elif check.details.get("requests_to_next_test") is not None:
            words.append(f"next test of harm in {check.details['requests_to_next_test']:,} requests")
    return "; ".join(words) or ("decided" if state.finished else "")
