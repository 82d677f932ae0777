"""A home for reviews: each test that uses it runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from components.database.review_models import ReviewSecret
from components.reviews import arena, opened
from components.settings import Settings

MODELS = ("models:/m/1", "models:/m/2")
Say = Callable[[str, str], str]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    settings = Settings(home=tmp_path / "home", database_url=url)
    yield settings
    opened.opened(settings).close()


def same_draws(settings: Settings) -> None:
    """Sets the secret that draws follow from: who stands where is the same each time."""
    with opened.opened(settings).write() as session:
        session.execute(update(ReviewSecret).values(secret="s" * 64))


def meet(
    settings: Settings, reviewer: str, models: tuple[str, ...] = MODELS, say: Say = "{1} says: {0}".format
) -> arena.Match | None:
    """The reviewer's next match with both answers, as a view makes it: ``say(prompt, model)`` answers."""
    match = arena.next_match(settings, reviewer, models)
    if match is None:
        return None
    sides = arena.models_of(settings, match.id)
    for side, model in sides.missing():
        arena.answer(settings, match.id, side, arena.Answer(say(sides.prompt, model), model, model[-1] * 64))
    return arena.shown(settings, match.id, reviewer)


def vote_all(
    settings: Settings,
    reviewer: str,
    choose: Callable[[arena.Match, arena.Sides], arena.Choice],
    seconds: float = 5.0,
    models: tuple[str, ...] = MODELS,
    say: Say = "{1} says: {0}".format,
) -> list[arena.Revealed]:
    """Votes on everything that a reviewer has yet to see."""
    found = []
    while (match := meet(settings, reviewer, models, say)) is not None:
        choice = choose(match, arena.models_of(settings, match.id))
        found.append(arena.vote(settings, match.id, choice, reviewer, seconds))
    return found


def by_chance(match: arena.Match, sides: arena.Sides) -> arena.Choice:
    """A reviewer who doesn't look: what he prefers follows from the prompt's hash, so that a test's numbers stay the same."""
    drawn = hashlib.sha256(match.prompt.encode()).digest()[0] % 3
    return "tie" if drawn == 2 else prefers(MODELS[drawn])(match, sides)


def prefers(model: str) -> Callable[[arena.Match, arena.Sides], arena.Choice]:
    """A reviewer who always finds one model better, whatever its side."""
    return lambda _, sides: "a" if sides.models["a"] == model else "b"
