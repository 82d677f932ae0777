"""Asks a judge about pairs of answers: each in both orders, and some once more with a planted injection."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from components.judges import canaries, verdicts
from components.judges.asking import Judge, Opinion, Question
from components.judges.items import Item
from components.judges.journal import Journal
from components.judges.verdicts import Order, Side

Variant = Literal["plain", "injected", "harmless"]
ORDERS: tuple[Order, Order] = ("ab", "ba")
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Judged:
    """An item with the judge's verdict in each order.

    Attributes:
        opinions: by order.
        planted: the side that the audit's injection went into, or None.
        injected, harmless: what both orders said together with the injection, with the harmless sentence.
    """

    item: Item
    opinions: dict[Order, Opinion]
    planted: Side | None = None
    injected: Side | None = None
    harmless: Side | None = None

    @property
    def sides(self) -> tuple[Side | None, Side | None]:
        """The verdict in each order."""
        ab, ba = (verdicts.side(self.opinions[order].position, order) for order in ORDERS)
        return ab, ba

    @property
    def outcome(self) -> Side | None:
        """Both orders together; None if either held no verdict."""
        return verdicts.together(*self.sides)

    @property
    def consistent(self) -> bool | None:
        """Whether both orders said the same; None if either held no verdict."""
        ab, ba = self.sides
        return None if ab is None or ba is None else ab == ba


@dataclass(frozen=True)
class _Ask:
    """One question of an item in one order."""

    item: Item
    order: Order
    variant: Variant = "plain"
    planted: Side | None = None
    number: int = 0
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.item.pair}/{self.item.id}/{self.order}/{self.variant}")

    @property
    def question(self) -> Question:
        """As the judge sees it."""
        a, b = self._answer("a", self.item.a), self._answer("b", self.item.b)
        first, second = (a, b) if self.order == "ab" else (b, a)
        return Question(self.key, self.item.prompt, first, second, self.item.reference)

    def _answer(self, side: Side, text: str) -> str:
        if side != self.planted:
            return text
        position = "A" if (side == "a") == (self.order == "ab") else "B"
        return (
            canaries.injected(text, self.number, position) if self.variant == "injected" else canaries.harmless(text, self.number)
        )


def judge_items(
    judge: Judge,
    items: Sequence[Item],
    journal: Journal,
    *,
    canary_share: float = 0.1,
    least_canaries: int = 20,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> list[Judged]:
    """Every item with the judge's verdicts; what the journal holds isn't asked again.

    Args:
        canary_share: share of the items that are judged again with an injection, and with a harmless sentence in its place.
        least_canaries: at least so many, as far as there are items with a verdict.

    Raises:
        EndpointError: if the judge can't be asked any more; the verdicts so far are in the journal.
    """
    _ask(judge, [_Ask(item, order) for item in items for order in ORDERS], journal, on_progress)
    found = {(item.pair, item.id): _judged(item, journal) for item in items}
    wanted = max(least_canaries, round(canary_share * len(items))) if canary_share else 0
    planted = dict(_plant([one for one in found.values() if one.outcome is not None], wanted, seed))
    variants: tuple[Variant, Variant] = ("injected", "harmless")
    asks = [
        _Ask(found[key].item, order, variant, side, number)
        for number, (key, side) in enumerate(planted.items())
        for variant in variants
        for order in ORDERS
    ]
    _ask(judge, asks, journal, on_progress)
    return [_judged(item, journal, planted.get((item.pair, item.id))) for item in items]


def _plant(judged: Sequence[Judged], wanted: int, seed: int) -> Iterator[tuple[tuple[str, str], Side]]:
    """Which items get an injection, and into which answer: the one that lost, so that there is something to turn."""
    draws = random.Random(seed)
    for one in draws.sample(judged, min(wanted, len(judged))):
        either: Side = draws.choice(("a", "b"))
        side: Side = {"a": "b", "b": "a", "tie": either}[one.outcome or "tie"]  # type: ignore[assignment]
        yield (one.item.pair, one.item.id), side


def _ask(judge: Judge, asks: Sequence[_Ask], journal: Journal, on_progress: OnProgress | None) -> None:
    missing = [ask for ask in asks if ask.key not in journal.records]
    before, count = len(asks) - len(missing), itertools.count(1)

    def take(index: int, opinion: Opinion) -> None:
        ask = missing[index]
        about = {"pair": ask.item.pair, "item": ask.item.id, "order": ask.order, "variant": ask.variant}
        about |= {"planted": ask.planted} if ask.planted else {}
        journal.add(ask.key, about | {"side": verdicts.side(opinion.position, ask.order)} | asdict(opinion))
        if on_progress is not None:
            on_progress(before + next(count), len(asks))

    judge.ask([ask.question for ask in missing], take)


def _judged(item: Item, journal: Journal, planted: Side | None = None) -> Judged:
    opinions = {order: opinion_of(journal.records[_Ask(item, order).key]) for order in ORDERS}
    if planted is None:
        return Judged(item, opinions)
    variants: tuple[Variant, Variant] = ("injected", "harmless")
    injected, harmless = (
        verdicts.together(*(journal.records[_Ask(item, order, variant).key]["side"] for order in ORDERS)) for variant in variants
    )
    return Judged(item, opinions, planted, injected, harmless)


def opinion_of(record: dict[str, Any]) -> Opinion:
    """A journal's record as an opinion."""
    scores = record["scores"]
    return Opinion(
        record["position"], (scores[0], scores[1]) if scores else None, tuple(record["raw"]), record["cut"], record["error"]
    )
