"""``lapidar compare``: two registered versions or sealed evaluations on the same items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from components.errors import InputError
from components.settings import Settings
from flows import output
from flows.cli_models import registry_for

if TYPE_CHECKING:
    from components.comparison import Comparison
    from components.noise import Floors

Evaluated = tuple[list[dict[str, Any]], "Floors"]


def compare(first: str, second: str, as_json: bool) -> None:
    """Prints a line a benchmark and metric: what may be said of the first model, and what it rests on."""
    from components import comparison, noise

    settings = Settings()
    (ours, our_floors), (theirs, their_floors) = _evaluated(first, settings), _evaluated(second, settings)
    found = comparison.compare(ours, theirs, floors=noise.merged(our_floors, their_floors))
    left = comparison.left_out(ours, theirs)
    if as_json:
        only = {"a": left.first, "b": left.second}
        document = {"a": first, "b": second, "comparisons": [each.to_dict() for each in found], "left_out": only}
        output.document(document | {"verdict": _verdict(found)})
        return
    typer.echo(f"{first} against {second}")
    for each in found:
        typer.echo(f"  {each.benchmark} {each.metric}: {each.text()}")
    for side, names in ((first, left.first), (second, left.second)):
        if names:
            typer.echo(f"  not compared, for only {side} was evaluated on it: {', '.join(names)}")
    typer.echo(f"{_verdict(found)}")


def _verdict(found: list[Comparison]) -> str:
    """The whole in words."""
    calls = {call: [f"{each.benchmark} {each.metric}" for each in found if each.call == call] for call in ("better", "worse")}
    said = [f"{call} on {', '.join(names)}" for call, names in calls.items() if names]
    return " and ".join(said) or "no difference shown"


def _evaluated(source: str, settings: Settings) -> Evaluated:
    """Items and noise floors of a version or of a sealed evaluation."""
    from components import floors
    from components.comparison import read_items

    if not source.startswith("models:/"):
        if not Path(source).is_dir():
            raise InputError(f"{source!r} is neither a version (models:/NAME/VERSION) nor a folder with a sealed evaluation")
        return read_items(Path(source)), floors.known(Path(source), settings)
    registry = registry_for(source)
    items = registry.items(source)
    if items is None:
        raise InputError(f"{source} carries no evaluated items; evaluate it, or compare the folders of two evaluations")
    return items, registry.floors(source)
