"""``lapidar deploy``: schedules a recipe, pauses it, takes it away, lists what is scheduled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from components import recipe as recipes
from components.errors import InputError
from components.settings import Settings
from flows import deployments, output, server
from flows.deployments import Deployments, When


def deploy(
    recipe: str | None,
    overrides: list[str],
    cron: str | None,
    every: str | None,
    on_new_data: bool,
    pause: bool,
    remove: bool,
    as_json: bool,
) -> None:
    """Does the one thing that the options ask for, and prints what is scheduled then."""
    options = {"--cron": cron is not None, "--every": every is not None, "--on-new-data": on_new_data}
    options |= {"--pause": pause, "--remove": remove}
    chosen = [name for name, given in options.items() if given]
    if recipe is None:
        if chosen:
            raise InputError(f"{chosen[0]} needs a recipe: `lapidar deploy RECIPE {chosen[0]} …`")
        _list(as_json)
        return
    if len(chosen) != 1:
        said = f"{' and '.join(chosen)} are given" if chosen else "none is given"
        raise InputError(f"say one of {', '.join(options)}; {said}")
    if pause or remove:
        _change(recipe, pause, as_json)
        return
    loaded = recipes.load(recipe, overrides)
    when = When(cron, deployments.interval(every) if every is not None else None, on_new_data)
    known = connect()
    document = known.deploy(loaded, recipe, overrides, when, Path.cwd())
    if as_json:
        output.document(document)
        return
    typer.echo(line(document))


def _list(as_json: bool) -> None:
    found = connect().scheduled()
    if as_json:
        output.document(found)
        return
    for each in found:
        typer.echo(line(each))
    if not found:
        typer.echo('nothing is scheduled; `lapidar deploy quickstart --cron "0 3 * * *"` runs it every night')


def _change(recipe: str, pause: bool, as_json: bool) -> None:
    known = connect()
    scheduled = {each["name"] for each in known.scheduled()}
    name = recipe if recipe in scheduled else _name(recipe)
    if pause:
        known.pause(name)
    else:
        known.remove(name)
    if as_json:
        output.document({"name": name, "paused" if pause else "removed": True})
        return
    typer.echo(f"{name} is paused; schedule it again to go on" if pause else f"{name} isn't scheduled any more")


def _name(recipe: str) -> str:
    """The name in a recipe's file, if it is one; else what was given, for the message."""
    try:
        return recipes.load(recipe).name
    except InputError:
        return recipe


def connect() -> Deployments:
    """The deployments of the local services, with Prefect's log out of the way."""
    known = Deployments(Settings())
    import prefect  # noqa: F401  (its log goes where the console's is)

    server.quiet_console()
    return known


def line(found: Mapping[str, Any]) -> str:
    """A deployment for people."""
    state = "paused" if found["paused"] else f"next {found['next']}" if found["next"] else ""
    last = f"last {found['last']['state']} at {found['last']['at']}" if found["last"] else "never ran"
    return f"{found['name']:<20}  {found['when']:<24}  {state:<32}  {last}"
