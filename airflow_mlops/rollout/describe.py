"""A spec in words: what would happen step by step, and by which rules."""

from __future__ import annotations

from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec

__all__ = ["describe_spec", "describe_step", "rules_of"]


def describe_spec(spec: RolloutSpec) -> str:
    """Return what a rollout under this spec would do, one line per step and rule."""
    lines = ["Steps:" if spec.strategy == "canary" else "Blue-green:"]
    lines += [f"{number}. {describe_step(spec, step)}" for number, step in enumerate(spec.steps, 1)]
    last = f"{len(spec.steps) + 1}. "
    lines.append(last + ("all traffic" if spec.strategy == "canary" else "the stable model may go"))
    lines.append("Rules:")
    lines += [f"- {name}: {text}" for name, text in rules_of(spec)]
    return "\n".join(lines)


def describe_step(spec: RolloutSpec, step: CanaryStep) -> str:
    """Return what happens in a step, and how it ends."""
    weight = step.weight_percent
    if weight == 0:
        what = "the stable model is measured alone"
    elif weight == 100:
        what = "100 % at once, compared with what was measured; the stable model stays ready"
    else:
        what = f"{weight} % of the {spec.unit}"
    if step.is_holdback:
        what += f", a holdback: {100 - weight} % stay at the stable model to be compared with by labels"
    elif step.judge_labels:
        what += ", judged by labels, too"
    who = {0: "the stable model", 100: "the candidate"}.get(weight, "both models")
    text = f"{what}; at least {_span(step.min_seconds)} and {step.min_requests:,} requests at {who}"
    if step.judge_labels and spec.labels is not None:
        text += f" and {spec.labels.min_labels:,} labels"
    if step.approval:
        text += "; then it waits until somebody approves it"
    return f"{text}; back unless it is over after {_span(spec.timeout_of(step))}"


def rules_of(spec: RolloutSpec) -> list[tuple[str, str]]:
    """Return what is judged and tolerated, name and sentence."""
    errors = "users who met an error" if spec.unit == "users" else "failed requests"
    rules = [(errors.capitalize(), f"at most {spec.error_rate.max_increase:.2%} more than the stable model")]
    if spec.latency is not None:
        latency = f"slower than {spec.latency.slow_ms} ms: at most {spec.latency.max_increase:.2%} more"
        rules.append(("Slow requests", latency))
    if spec.labels is not None:
        labels = (
            f"by labels that arrive within {_span(spec.labels.age_seconds)}: at most "
            f"{spec.labels.max_increase:.2%} more"
        )
        rules.append(("Wrong predictions", labels))
    if spec.predictions is not None:
        edges = ", ".join(f"{edge:g}" for edge in spec.predictions.edges)
        difference = f"{spec.predictions.max_difference:.2%}"
        rules.append(("Predictions", f"the shares at or above {edges} differ by at most {difference}"))
    if spec.fixed_horizon is not None:
        rules.append(("Harm", f"by ranks, once per step after {spec.fixed_horizon.looks} looks"))
    else:
        rules.append(("False rollback", f"an equal candidate goes back with a chance of at most {spec.alpha:.1%}"))
    if spec.max_samples is not None:
        rules.append(
            ("At most", f"{spec.max_samples:,} requests at the candidate; what is not proven by then goes back")
        )
    rules.append(("Proof", f"with {spec.confidence:.1%} confidence at every step"))
    rules.append(("Looks", f"every {_span(spec.look_seconds)}"))
    rules.append(("Without data", f"back after {_span(spec.max_unknown_seconds)}"))
    return rules


def _span(seconds: float) -> str:
    """Return a time as people say it, exactly."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size and seconds * 4 % size == 0:
            number = f"{seconds / size:g}"
            return f"{number} {unit[:-1] if number == '1' else unit}"
    return f"{seconds:g} s"
