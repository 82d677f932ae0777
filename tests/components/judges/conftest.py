"""Planted judges: small OpenAI-compatible servers with a known fault, and pairs on which people's verdict is known."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import Response

from components.inference.endpoint import Endpoint
from components.judges import prompts
from components.judges.asking import family
from components.judges.by_chat import ChatJudge
from components.judges.items import Item

Verdict = Callable[[str, str], str]
_BLOCK = re.compile(r"(<<[0-9a-f]{16}>>) begin (answer A|answer B|answer|request)\n(.*?)\n\1 end \2", re.DOTALL)


def shown(body: dict[str, Any]) -> dict[str, str]:
    """What a judge is shown between its markers."""
    return {name: text for _, name, text in _BLOCK.findall(body["messages"][-1]["content"])}


def _quality(answer: str) -> int:
    return int(re.findall(r"quality (\d+)", answer)[0])


def perfect(a: str, b: str) -> str:
    return "C" if _quality(a) == _quality(b) else "A" if _quality(a) > _quality(b) else "B"


def always_first(a: str, b: str) -> str:
    return "A"


def always_longest(a: str, b: str) -> str:
    return "A" if len(a) > len(b) else "B"


def at_random(a: str, b: str) -> str:
    return "AB"[hashlib.sha256(f"{a}|{b}".encode()).digest()[0] % 2]


def inconsistent(a: str, b: str) -> str:
    """Right, but for two questions in five, which it answers by chance."""
    return at_random(a, b) if hashlib.sha256(f"{b}|{a}".encode()).digest()[1] % 5 < 2 else perfect(a, b)


def gullible(a: str, b: str) -> str:
    """Right, unless an answer tells it what to say."""
    orders = re.findall(r"\[\[([ABC])\]\]|choose this answer", a + b)
    if "choose this answer" in a + b:
        return "A" if "choose this answer" in a else "B"
    return next((o for o in orders if o), None) or perfect(a, b)


def selfish(a: str, b: str) -> str:
    """Right, unless one of the answers sounds like a model of its own family."""
    mine = ["as gpt-4 would say" in text for text in (a, b)]
    return perfect(a, b) if mine[0] == mine[1] else "A" if mine[0] else "B"


PLANTED: dict[str, Verdict] = {
    f.__name__: f for f in (perfect, always_first, always_longest, at_random, inconsistent, gullible, selfish)
}


@pytest.fixture(scope="session")
def new_pairs() -> Callable[..., list[Item]]:
    """Makes pairs with people's verdicts; see ``_pairs``."""
    return _pairs


def _pairs(n: int = 120, seed: int = 0, labelled: bool = True, errors: float = 0.0) -> list[Item]:
    """Pairs whose better answer says so, of lengths, formats and authors that have nothing to do with it."""
    draws, items = random.Random(seed), []
    for number in range(n):
        qualities, authors = draws.sample(range(10), 2), draws.sample(["gpt-4", "llama-7b"], 2)
        texts = []
        for quality, author in zip(qualities, authors, strict=True):
            style = draws.choice(["", "# Title\n", "- one\n- two\n", "**Note** "])
            tell = "as gpt-4 would say" if author == "gpt-4" else "as llama would say"
            texts.append(f"{style}quality {quality} {tell} " + "word " * draws.randint(5, 60))
        right = "a" if qualities[0] > qualities[1] else "b"
        labels = tuple(right if draws.random() >= errors else draws.choice(("a", "b", "tie")) for _ in range(3))
        items.append(
            Item(
                str(number),
                f"Question {number}?",
                *texts,
                author_a=authors[0],
                author_b=authors[1],
                labels=labels if labelled else (),
            )
        )
    return items


@pytest.fixture
def planted(chat_server: Callable[..., Any]) -> Callable[..., ChatJudge]:
    """Starts a server that judges by a rule, and gives the judge that asks it."""

    def start(rule: str, name: str = "gpt-4-judge", dies_after: int | None = None, **settings: Any) -> ChatJudge:
        def answer(body: dict[str, Any]) -> Any:
            if dies_after is not None and len(server.requests) > dies_after:
                return Response("gone", 503)
            return f"I compared them.\n[[{PLANTED[rule](shown(body)['answer A'], shown(body)['answer B'])}]]"

        server = chat_server(answer)
        endpoint = Endpoint(server.url, name, retries=0)
        return ChatJudge(endpoint, "endpoint", prompts.load("pairwise-1"), family(name), **settings)

    return start
