"""``lapidar accounts``: who may open the dashboard. Passwords are asked for or read from standard input, never arguments."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows import output
from flows.cli_arguments import Json

if TYPE_CHECKING:
    from components.settings import Settings

accounts = typer.Typer(name="accounts", help="Local accounts of the dashboard and their roles.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Account's name.")]
Role = Annotated[str, typer.Argument(help="reviewer, engineer or admin")]


@accounts.command()
def add(name: Name, role: Role = "reviewer", as_json: Json = False) -> None:
    """Make an account. The password is asked for, or is the first line of standard input."""
    from components.reviews import accounts as store

    made = store.create(_settings(), name, role, _password())  # type: ignore[arg-type]
    _say({"name": made.name, "role": made.role}, f"{made.name} is {made.role}", as_json)


@accounts.command(name="list")
def list_accounts(as_json: Json = False) -> None:
    """List accounts and roles."""
    from components.reviews import accounts as store

    found = store.listed(_settings())
    if as_json:
        output.document([{"name": each.name, "role": each.role} for each in found])
        return
    for each in found:
        typer.echo(f"{each.role:<9} {each.name}")
    if not found:
        typer.echo("no accounts yet: who opens the dashboard on this machine sees all of it; `lapidar accounts add NAME admin`")


@accounts.command()
def role(name: Name, role: Role, as_json: Json = False) -> None:
    """Give an account another role."""
    from components.reviews import accounts as store

    now = store.set_role(_settings(), name, role)  # type: ignore[arg-type]
    _say({"name": now.name, "role": now.role}, f"{now.name} is {now.role}", as_json)


@accounts.command()
def password(name: Name, as_json: Json = False) -> None:
    """Give an account another password, and take a lock away."""
    from components.reviews import accounts as store

    now = store.set_password(_settings(), name, _password())
    _say({"name": now.name, "role": now.role}, f"{now.name} has a new password", as_json)


@accounts.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Remove an account; votes and conversations of its owner stay."""
    from components.reviews import accounts as store

    store.remove(_settings(), name)
    _say({"removed": name}, f"{name} is removed", as_json)


def _password() -> str:
    """Asked for twice on a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def _say(document: dict[str, str], text: str, as_json: bool) -> None:
    if as_json:
        output.document(document)
    else:
        typer.echo(text)


def _settings() -> Settings:
    from components.settings import Settings

    settings = Settings()
    settings.prepare()
    return settings
