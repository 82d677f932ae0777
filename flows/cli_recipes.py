"""``lapidar run``, ``plan``, ``deploy``, ``reproduce``: what is done with a recipe, or with a version's record of one."""

from __future__ import annotations

from typing import Annotated

import typer

from components.errors import InputError
from flows.cli_arguments import Json, Overrides, Recipe

recipes = typer.Typer()


@recipes.command()
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Run this stage and what follows from it again, even if cached.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Stop after this stage.")] = None,
    as_json: Json = False,
) -> None:
    """Run a recipe from data to a registered version. What is there already isn't made again."""
    from flows import cli_run

    raise typer.Exit(cli_run.run(recipe, overrides or [], start, until))


@recipes.command()
def plan(recipe: Recipe, overrides: Overrides = None, as_json: Json = False) -> None:
    """Say what a run would do: settings, data, stages with reasons, cost, rows as the model sees them. Runs nothing."""
    from flows import cli_plan

    cli_plan.plan(recipe, overrides or [], as_json)


@recipes.command()
def deploy(
    recipe: Annotated[str | None, typer.Argument(help="Recipe by name or path; without one, lists what is scheduled.")] = None,
    overrides: Overrides = None,
    cron: Annotated[str | None, typer.Option("--cron", help='Schedule, e.g. "0 3 * * *" (UTC).')] = None,
    every: Annotated[str | None, typer.Option("--every", help="Interval, e.g. 90s, 15m, 6h, 1d.")] = None,
    on_new_data: Annotated[bool, typer.Option("--on-new-data", help="Run when the dataset version has changed.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Stop the schedule; give a schedule again to go on.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the deployment.")] = False,
    as_json: Json = False,
) -> None:
    """Schedule a recipe as a Prefect deployment; needs `lapidar up`."""
    from flows import cli_deploy

    cli_deploy.deploy(recipe, overrides or [], cron, every, on_new_data, pause, remove, as_json)


@recipes.command()
def reproduce(
    uri: Annotated[str, typer.Argument(metavar="VERSION", help="models:/name/version or models:/name@alias")],
    overrides: Overrides = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Run this git revision instead of the recorded one.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the rerun's worktree and home.")] = False,
    cron: Annotated[str | None, typer.Option("--cron", help='Rerun it on a schedule instead, e.g. "0 3 * * 0" (UTC).')] = None,
    every: Annotated[str | None, typer.Option("--every", help="Rerun it at an interval instead of now, e.g. 7d.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the schedule away.")] = False,
    as_json: Json = False,
) -> None:
    """Rerun a registered version from its record: identical, within noise, or drifted, and since which stage."""
    from flows import cli_reproduce

    if cron is not None or every is not None or remove:
        if overrides or revision or keep:
            raise InputError("what is scheduled reruns the version as it is; leave out overrides, --revision and --keep")
        cli_reproduce.schedule(uri, cron, every, remove, as_json)
        return
    raise typer.Exit(cli_reproduce.reproduce(uri, revision, overrides or [], keep, as_json))
