"""One chat with what is served is fast enough, as it was measured on the machine that verified it."""

from __future__ import annotations

from components.gate.verdict import Case, Reason, number

_NAME = "speed"


def check(case: Case) -> list[Reason]:
    """A reason for each limit that the policy has: time to the first token, tokens a second."""
    config, speed = case.config, case.evidence.speed
    limits = (
        ("first_token_ms", config.max_latency_ms, "{:,.1f} ms to the first token, at most {:,.1f} allowed"),
        ("tokens_per_second", config.min_tokens_per_second, "{:,.1f} tokens/s, at least {:,.1f} asked"),
    )
    reasons = []
    for name, limit, sentence in limits:
        if limit is None:
            continue
        if (value := number(speed.get(name))) is None:
            text = f"{name} was not measured; register the version again to measure it"
            reasons.append(Reason(_NAME, "unknown", text, code="no_speed", values={"what": name}))
            continue
        fast = value <= limit if name == "first_token_ms" else value >= limit
        figures = {name: value, "limit": limit, "served": speed.get("served")}
        reasons.append(Reason(_NAME, "pass" if fast else "fail", sentence.format(value, limit), figures, name))
    return reasons
