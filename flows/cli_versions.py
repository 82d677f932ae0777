"""``lapidar models …``, ``promote``, ``rollback``, ``audit``: registered versions, and who is champion."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_arguments import Json

versions = typer.Typer()
models = typer.Typer(name="models", help="List, show and promote registered versions.", no_args_is_help=True)
versions.add_typer(models)


@models.command(name="list")
def list_models(name: Annotated[str | None, typer.Argument(help="Registered model's name.")] = None, as_json: Json = False) -> None:
    """List registered versions, newest first."""
    from flows import cli_models

    cli_models.list_versions(name, as_json)


@models.command()
def show(
    uri: Annotated[str, typer.Argument(metavar="VERSION", help="models:/name/version or models:/name@alias")], as_json: Json = False
) -> None:
    """Show a version with its evidence and the gate's verdict."""
    from flows import cli_models

    cli_models.show(uri, as_json)


@versions.command()
@models.command()
def promote(
    uri: Annotated[str, typer.Argument(metavar="VERSION", help="models:/name/version")],
    override: Annotated[bool, typer.Option("--override", help="Promote although the gate did not pass; logged for good.")] = False,
    who: Annotated[str, typer.Option("--who", help="Who promotes: needed for an override, and where two people must agree.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why the gate is overridden.")] = "",
    as_json: Json = False,
) -> None:
    """Make a version the champion: if its gate passed, or by a named override; with a second person where the policy says so."""
    from flows import cli_promote

    raise typer.Exit(cli_promote.promote(uri, override, who, reason, as_json))


@versions.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Registered model's name.")],
    who: Annotated[str, typer.Option("--who", help="Who rolls back.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    as_json: Json = False,
) -> None:
    """Make the previous champion champion again, by the audit log."""
    from flows import cli_promote

    cli_promote.rollback(name, who, reason, as_json)


@versions.command()
def audit(
    name: Annotated[str | None, typer.Argument(help="Registered model's name; all models without one.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check the log's chain of hashes, and every alias against it.")] = False,
    as_json: Json = False,
) -> None:
    """Show who moved which alias when and why; --verify says whether a line was changed or taken out."""
    from flows import cli_promote

    raise typer.Exit(cli_promote.audit(name, verify, as_json))


@models.command()
def gate(
    uri: Annotated[str, typer.Argument(metavar="VERSION", help="models:/name/version or models:/name@alias")],
    who: Annotated[str, typer.Option("--who", help="Who asks for it, for the audit log.")] = "",
    as_json: Json = False,
) -> None:
    """Decide a version's gate again, on the evidence that it has now and against the present champion."""
    from flows import cli_promote

    raise typer.Exit(cli_promote.gate(uri, who, as_json))
