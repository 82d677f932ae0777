"""``lapidar up`` and ``lapidar down``."""

from __future__ import annotations

from typing import Any

import typer

from components.settings import Settings
from flows import output, services

_WHAT = {"prefect": "Prefect", "mlflow": "MLflow", "worker": "worker", "models": "models"}


def up(as_json: bool) -> None:
    """Starts the services, or finds them; prints their addresses."""
    found = services.up(Settings())
    if as_json:
        output.document(found)
        return
    for service in found["services"]:
        typer.echo(f"{_WHAT.get(service['name'], service['name']):<10}{_place(service)}")
    typer.echo("`lapidar down` stops them")


def down(as_json: bool) -> None:
    """Stops the services."""
    stopped = services.down(Settings())
    if as_json:
        output.document({"stopped": stopped})
        return
    typer.echo("stopped" if stopped else "nothing was running")


def _place(service: dict[str, Any]) -> str:
    return service["address"] or f"runs scheduled recipes (process {service['pid']})"
