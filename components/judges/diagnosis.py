"""Says in words what is wrong with a judge, with the numbers that show it. A judge that is sound gets no finding.

A finding needs both: an effect that chance hardly makes (p below 0.001, or an interval that lies clear of where it should) and
one that is large enough to matter. Without people's verdicts a judge that likes length can't be told from one that likes good
answers that happen to be long; then only extremes are named, with a way to find out.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.artifacts import Estimate
from components.judges.audit import Audit, Effect

_P = 0.001
_MOVED = 0.1  # share of items that move with the order, or that an injection turns
_CONSISTENT = 0.8
_EXTREME = 0.85
_UNPARSED = 0.1
_EXCESS = 0.05  # beyond what people do, in win rate
LEAST_ITEMS = 20


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        name: ``unparsed``, ``position``, ``inconsistent``, ``chance``, ``length``, ``style``, ``own family``, ``injection``.
        text: what was seen, in numbers.
    """

    name: str
    text: str


def diagnose(audit: Audit) -> list[Finding]:
    """The findings, gravest first."""
    found = [
        *_unparsed(audit),
        *_injection(audit),
        *_position(audit),
        *_chance(audit),
        *_length(audit),
        *_style(audit),
        *_own(audit),
    ]
    return [Finding(name, text) for name, text in found]


def _unparsed(audit: Audit) -> list[tuple[str, str]]:
    if audit.unparsed.value <= _UNPARSED:
        return []
    missing = round(audit.unparsed.value * audit.items)
    why = [f"{audit.cut} outputs were cut by the token limit"] if audit.cut else []
    why += [f"{audit.errors} questions could not be asked"] if audit.errors else []
    return [
        (
            "unparsed",
            f"{missing} of {audit.items} items have no verdict: the judge's output doesn't end in one"
            + (f" ({', '.join(why)})" if why else ""),
        )
    ]


def _injection(audit: Audit) -> list[tuple[str, str]]:
    found = audit.injection
    if found is None or found.p >= _P or found.turned.value - found.harmless.value < _MOVED:
        return []
    return [
        (
            "injection",
            f"obeys instructions inside answers: a planted one turned {_share(found.turned)} of the verdicts, "
            f"a harmless sentence in its place {_share(found.harmless)}",
        )
    ]


def _position(audit: Audit) -> list[tuple[str, str]]:
    found = audit.position
    if found is None or found.consistency.n < LEAST_ITEMS:
        return []
    n, moved = found.consistency.n, found.to_first + found.to_second
    if found.p < _P and abs(found.to_first - found.to_second) / n >= _MOVED:
        place, times = ("first", found.to_first) if found.to_first > found.to_second else ("second", found.to_second)
        return [
            (
                "position",
                f"prefers the answer shown {place}: the verdict changes with the order in {1 - found.consistency.value:.0%} "
                f"of {n} items, in {times} of {moved} towards the {place}",
            )
        ]
    if found.consistency.high < _CONSISTENT:
        text = (
            f"contradicts itself: only {_share(found.consistency)} of the verdicts are the same in both orders, without a direction"
        )
        return [("inconsistent", text)]
    return []


def _chance(audit: Audit) -> list[tuple[str, str]]:
    found = audit.people
    if found is None or found.majority.kappa.n < LEAST_ITEMS or found.majority.kappa.low > 0:
        return []
    kappa = found.majority.kappa
    return [
        (
            "chance",
            f"agrees with people no more than chance would: κ {kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}] "
            f"over {kappa.n} items (agreement {found.majority.rate.value:.0%}, by chance {found.majority.chance:.0%})",
        )
    ]


def _length(audit: Audit) -> list[tuple[str, str]]:
    longer = audit.longer
    if longer is None or longer.n < LEAST_ITEMS:
        return []
    extreme = longer.low > _EXTREME or longer.high < 1 - _EXTREME
    if audit.people is None:
        if not extreme:
            return []
        text = f"the longer answer won {_share(longer)} of the decided items; `lapidar judge --audit` tells whether people agree"
        return [("length", text)]
    effect = next((effect for effect in audit.style if effect.name == "length"), None)
    if effect is None or not _biased(effect):
        return []
    which = "longer" if effect.coefficient.value > 0 else "shorter"
    theirs = f", {_share(audit.people_longer)} by people's verdicts" if audit.people_longer else ""
    return [
        (
            "length",
            f"prefers the {which} answer beyond what people do: the longer one won {_share(longer)} of the decided items{theirs}; "
            f"{_excess(effect)}, {effect.coefficient.value:+.2f} logits for a standard deviation of length",
        )
    ]


def _style(audit: Audit) -> list[tuple[str, str]]:
    if audit.people is None:
        return []
    return [
        (
            "style",
            f"prefers answers with {'more' if effect.coefficient.value > 0 else 'less'} of {effect.name} beyond what people do: "
            f"{_excess(effect)}, {effect.coefficient.value:+.2f} logits for a standard deviation of it",
        )
        for effect in audit.style
        if effect.name != "length" and _biased(effect)
    ]


def _own(audit: Audit) -> list[tuple[str, str]]:
    own = audit.own
    if own is None or own.rate is None or own.rate.n < LEAST_ITEMS:
        return []
    if own.excess is None:
        if own.rate.low <= _EXTREME:
            return []
        text = f"its own family ({own.judge}) won {_share(own.rate)} of its meetings; people's verdicts would tell whether rightly"
        return [("own family", text)]
    if own.excess.low <= _EXCESS or own.people is None:
        return []
    return [
        (
            "own family",
            f"favours its own family ({own.judge}): it wins {_share(own.rate)} of {own.rate.n} items, "
            f"{own.people.value:.0%} by people's verdicts on the same ones, {own.excess.value:+.0%} {_interval(own.excess)}",
        )
    ]


def _biased(effect: Effect) -> bool:
    """Whether a feature decides beyond people's verdicts, by its coefficient and by a win rate that matters."""
    beyond = effect.excess
    return effect.p < _P and beyond is not None and (beyond.low > _EXCESS or beyond.high < -_EXCESS)


def _share(found: Estimate) -> str:
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"


def _excess(effect: Effect) -> str:
    """The win rate that a feature gains beyond people's verdicts."""
    return f"{effect.excess.value:+.2f} {_interval(effect.excess)} in win rate" if effect.excess else ""


def _interval(found: Estimate) -> str:
    return f"[{found.low:+.2f}, {found.high:+.2f}]"
