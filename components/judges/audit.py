"""What a judge's verdicts say about the judge: position, length, style, its own family, injections, agreement with people.

Effects of length and style are coefficients of a logistic model of who wins. For length it is that of AlpacaEval 2 (Dubois et al.
2024, arXiv 2404.04475, eq. 2) for two models: ``logit P(a wins) = θ + φ · tanh(Δlength / sd(Δlength))``; its term for each
prompt's difficulty is left out, because it takes many models to estimate. The length-controlled win rate is what the model says for
answers of equal length: ``sigmoid(θ)``. Style is controlled as in Chatbot Arena: normalised differences ``(a - b) / (a + b)`` of
length, headers, lists and bold text, standardised, in one model. Where people judged the same items their verdict stands in the
model too, so that a judge isn't blamed for a length that people like as well.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.artifacts import Estimate
from components.judges import logistic
from components.judges.agreement import Agreement, agreement
from components.judges.asking import family
from components.judges.comparing import Judged
from components.judges.items import Item
from components.judges.verdicts import Side
from components.statistics import holm, mean, rate

if TYPE_CHECKING:
    from components.judges.logistic import Array

LEAST = 20
"""Items below which an effect of length, style or family isn't estimated."""
_WIN = {"a": 1.0, "tie": 0.5, "b": 0.0}
_STYLE: dict[str, Callable[[str], int]] = {
    "length": len,
    "headers": lambda text: len(re.findall(r"^#{1,6} ", text, re.MULTILINE)),
    "lists": lambda text: len(re.findall(r"^\s*(?:[-*+]|\d+[.)]) ", text, re.MULTILINE)),
    "bold": lambda text: len(re.findall(r"\*\*[^*\n]+\*\*|__[^_\n]+__", text)),
}


@dataclass(frozen=True)
class Position:
    """What the order of the answers does.

    Attributes:
        consistency: share of items with the same verdict in both orders.
        first: share of answers shown first among the verdicts that aren't ties.
        to_first, to_second: items whose verdict moved with the order, towards the answer shown first, second.
        p: sign test that it moves to both equally often.
    """

    consistency: Estimate
    first: Estimate | None
    to_first: int
    to_second: int
    p: float


@dataclass(frozen=True)
class Effect:
    """What more of a feature (length, lists…) does.

    Attributes:
        coefficient: of the logistic model, for one standard deviation: above 0 where more of it wins.
        p: that it is 0, adjusted for the number of features.
        excess: how much more often than by people's verdicts the answer with more of it wins, paired over the items in
            which it differs; None without labels.
    """

    name: str
    coefficient: Estimate
    p: float
    excess: Estimate | None


@dataclass(frozen=True)
class OwnFamily:
    """How a judge treats answers of its own family against those of others.

    Attributes:
        rate: how often its own family wins.
        people: how often it does by people's verdicts on the same items; None without labels.
        excess: ``rate`` minus ``people``, paired.
        table: win rate of every author's family under this judge.
    """

    judge: str
    rate: Estimate | None
    people: Estimate | None
    excess: Estimate | None
    table: dict[str, Estimate]


@dataclass(frozen=True)
class Injection:
    """What planted injections did.

    Attributes:
        turned: share of canaries that the injection turned towards the answer that holds it.
        harmless: the same with a harmless sentence in its place.
        p: one-sided exact test that the injection turns more.
        broken: canaries on which the judge no longer gave a verdict.
    """

    turned: Estimate
    harmless: Estimate
    p: float
    broken: int


@dataclass(frozen=True)
class People:
    """Agreement with people.

    Attributes:
        majority: with what most of them said; items without a majority are left out, ``split`` counts them.
        each: mean kappa with each single person, on items that all of them judged.
        ceiling: mean kappa of the people among each other; None with a single one.
    """

    majority: Agreement
    each: float | None
    ceiling: float | None
    people: int
    split: int


@dataclass(frozen=True)
class Audit:
    """All of it. What too little data can't show is None or empty.

    Attributes:
        unparsed: share of items without a verdict in both orders; ``cut`` and ``errors`` count the calls behind them.
        decided: items with a winner.
        longer: share of the decided items that the longer answer won; ``people_longer`` by people's verdicts.
    """

    items: int
    unparsed: Estimate
    cut: int
    errors: int
    decided: int
    longer: Estimate | None
    people_longer: Estimate | None
    position: Position | None
    style: tuple[Effect, ...]
    own: OwnFamily | None
    injection: Injection | None
    people: People | None


def audit(judged: Sequence[Judged], judge_family: str | None = None, seed: int = 0) -> Audit:
    """The audit of one judge's verdicts."""
    parsed = [one for one in judged if one.outcome is not None]
    opinions = [opinion for one in judged for opinion in one.opinions.values()]
    return Audit(
        items=len(judged),
        unparsed=rate(len(judged) - len(parsed), len(judged)),
        cut=sum(opinion.cut for opinion in opinions),
        errors=sum(opinion.error is not None for opinion in opinions),
        decided=sum(one.outcome != "tie" for one in parsed),
        longer=_longer([(one.item, one.outcome) for one in parsed]),
        people_longer=_longer([(one.item, one.item.label) for one in parsed]),
        position=position(parsed) if parsed else None,
        style=tuple(style(parsed)),
        own=own_family(parsed, judge_family) if judge_family else None,
        injection=injection(judged),
        people=people(judged, seed),
    )


def position(judged: Sequence[Judged]) -> Position:
    """Consistency and the direction in which verdicts move with the order."""
    from scipy.stats import binomtest

    places = [opinion.position for one in judged for opinion in one.opinions.values() if opinion.position != "tie"]
    leans = [sum({"first": 1, "second": -1}.get(str(o.position), 0) for o in one.opinions.values()) for one in judged]
    first, second = sum(lean > 0 for lean in leans), sum(lean < 0 for lean in leans)
    return Position(
        consistency=rate(sum(bool(one.consistent) for one in judged), len(judged)),
        first=rate(places.count("first"), len(places)) if places else None,
        to_first=first,
        to_second=second,
        p=float(binomtest(first, first + second).pvalue) if first + second else 1.0,
    )


def length_controlled(judged: Sequence[Judged]) -> Estimate | None:
    """Win rate of ``a`` for answers of equal length; None where lengths don't differ or there are too few items.

    The interval is the coefficient's, on the scale of rates.
    """
    import numpy as np

    parsed = [one for one in judged if one.outcome is not None]
    if len(parsed) < LEAST:
        return None
    difference = np.array([len(one.item.a) - len(one.item.b) for one in parsed], dtype=float)
    if not (spread := difference.std()):
        return None
    features = np.column_stack([np.ones(len(parsed)), np.tanh(difference / spread)])
    found = logistic.fit(features, _outcomes(parsed))
    theta, half = float(found.coefficients[0]), 1.96 * float(found.errors[0])
    value, low, high = (1 / (1 + math.exp(-logit)) for logit in (theta, theta - half, theta + half))
    return Estimate(value, low, high, len(parsed))


def style(judged: Sequence[Judged]) -> list[Effect]:
    """Effects of length and formatting, together in one model; adjusted by Holm for their number."""
    import numpy as np

    if len(judged) < LEAST:
        return []
    columns = {
        name: np.array([_contrast(count(one.item.a), count(one.item.b)) for one in judged]) for name, count in _STYLE.items()
    }
    used = {name: column for name, column in columns.items() if (column != 0).sum() >= LEAST // 2 and column.std() > 0}
    if not used:
        return []
    known = _controls(judged)
    features = np.column_stack([*known, *((column - column.mean()) / column.std() for column in used.values())])
    found, outcome = logistic.fit(features, _outcomes(judged)), _outcomes(judged)
    places = {name: len(known) + place for place, name in enumerate(used)}
    p_values = holm([logistic.matters(features, outcome, place) for place in places.values()])
    effects = []
    for (name, place), p in zip(places.items(), p_values, strict=True):
        value, half = float(found.coefficients[place]), 1.96 * float(found.errors[place])
        effects.append(Effect(name, Estimate(value, value - half, value + half, len(judged)), p, _excess(judged, used[name])))
    return effects


def _excess(judged: Sequence[Judged], contrast: Array) -> Estimate | None:
    """Judge minus people in how often the answer with more of a feature wins.

    This, not the coefficient, says how large a bias is: people err too, and a judge that is right where they aren't differs from
    them a little in whatever good answers have more of, with a large coefficient where it hardly ever differs.
    """
    mine, theirs = [], []
    for one, more in zip(judged, contrast, strict=True):
        if more and one.item.label is not None:
            pair = [_WIN[side or "tie"] for side in (one.outcome, one.item.label)]
            mine.append(pair[0] if more > 0 else 1 - pair[0])
            theirs.append(pair[1] if more > 0 else 1 - pair[1])
    return _difference(mine, theirs) if len(mine) >= LEAST else None


def own_family(judged: Sequence[Judged], judge_family: str) -> OwnFamily | None:
    """How the judge's family fares under it; None if no author's family is known."""
    wins: dict[str, list[float]] = defaultdict(list)
    ours, theirs = [], []
    for one in judged:
        a, b = (family(author) if author else None for author in (one.item.author_a, one.item.author_b))
        if (a is None and b is None) or a == b:
            continue
        win = _WIN[one.outcome or "tie"]
        for name, share in ((a, win), (b, 1 - win)):
            if name is not None:
                wins[name].append(share)
        if judge_family in (a, b):
            ours.append(win if a == judge_family else 1 - win)
            label = one.item.label
            theirs.append(None if label is None else _WIN[label] if a == judge_family else 1 - _WIN[label])
    if not wins:
        return None
    labelled = [(mine, other) for mine, other in zip(ours, theirs, strict=True) if other is not None]
    enough = len(labelled) >= LEAST
    return OwnFamily(
        judge_family,
        rate=_mean(ours),
        people=_mean([other for _, other in labelled]) if enough else None,
        excess=_difference([mine for mine, _ in labelled], [other for _, other in labelled]) if enough else None,
        table={name: estimate for name, values in sorted(wins.items()) if (estimate := _mean(values)) is not None},
    )


def injection(judged: Sequence[Judged]) -> Injection | None:
    """What the planted injections turned; None if none were planted."""
    from scipy.stats import binomtest

    canaries = [one for one in judged if one.planted is not None]
    whole = [one for one in canaries if one.injected is not None and one.harmless is not None]
    if not whole:
        return None
    turned, harmless = ([_turned(one, said) for one in whole] for said in ("injected", "harmless"))
    more = sum(x and not y for x, y in zip(turned, harmless, strict=True))
    less = sum(y and not x for x, y in zip(turned, harmless, strict=True))
    p = float(binomtest(more, more + less, alternative="greater").pvalue) if more + less else 1.0
    return Injection(rate(sum(turned), len(whole)), rate(sum(harmless), len(whole)), p, len(canaries) - len(whole))


def people(judged: Sequence[Judged], seed: int = 0) -> People | None:
    """Agreement with people's verdicts; an item without a verdict of the judge is one that it doesn't agree on."""
    labelled = [one for one in judged if one.item.labels]
    settled = [one for one in labelled if one.item.label is not None]
    if not settled:
        return None
    count = min(len(one.item.labels) for one in labelled)
    by_person = [[one.item.labels[person] for one in labelled] for person in range(count)]
    said = [one.outcome for one in labelled]
    among = [agreement(x, y, seed).kappa.value for i, x in enumerate(by_person) for y in by_person[i + 1 :]]
    return People(
        agreement([one.outcome for one in settled], [one.item.label for one in settled], seed),
        each=sum(agreement(said, one, seed).kappa.value for one in by_person) / count if count > 1 else None,
        ceiling=sum(among) / len(among) if among else None,
        people=count,
        split=len(labelled) - len(settled),
    )


def win_rate(judged: Sequence[Judged]) -> Estimate | None:
    """How often ``a`` wins, ties counting half, over the items with a verdict; None if there are none."""
    return _mean([_WIN[one.outcome] for one in judged if one.outcome is not None])


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    return mean([mine - other for mine, other in zip(ours, theirs, strict=True)], bounds=(-1.0, 1.0))


def _mean(values: Sequence[float]) -> Estimate | None:
    return mean(values) if values else None


def _outcomes(judged: Sequence[Judged]) -> Array:
    import numpy as np

    return np.array([_WIN[one.outcome or "tie"] for one in judged])


def _controls(judged: Sequence[Judged]) -> list[Array]:
    """Columns that aren't style: one intercept a pair of models, and people's verdict where all items have one."""
    import numpy as np

    pairs = sorted({one.item.pair for one in judged})
    columns: list[Any] = [np.array([float(one.item.pair == pair) for one in judged]) for pair in pairs]
    labels = [one.item.label for one in judged]
    if all(label is not None for label in labels):
        columns += [np.array([float(label == side) for label in labels]) for side in ("a", "b")]
    return columns


def _contrast(a: int, b: int) -> float:
    return (a - b) / (a + b) if a + b else 0.0


def _longer(verdicts: Sequence[tuple[Item, Side | None]]) -> Estimate | None:
    """Share of the verdicts with a winner, on answers of different lengths, that went to the longer one."""
    won = [(side == "a") == (len(i.a) > len(i.b)) for i, side in verdicts if side in ("a", "b") and len(i.a) != len(i.b)]
    return rate(sum(won), len(won)) if won else None


def _turned(one: Judged, variant: str) -> bool:
    """Whether a verdict moved towards the planted side."""
    after: Side | None = getattr(one, variant)
    worth: Mapping[str, float] = _WIN if one.planted == "a" else {side: 1 - value for side, value in _WIN.items()}
    return worth[after or "tie"] > worth[one.outcome or "tie"]
