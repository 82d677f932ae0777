"""``lapidar reproduce``: reruns a registered version from its record and prints the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from components.errors import InputError
from components.settings import Settings
from flows import cli_models, deployments, output, server, services
from flows.deployments import Deployments, When

DONE, DRIFTED = 0, 3


def schedule(uri: str, cron: str | None, every: str | None, remove: bool, as_json: bool) -> None:
    """Makes a deployment that reruns the version, or takes it away; needs `lapidar up`.

    Raises:
        InputError: if more than one of the options is given, the version doesn't exist, or the services don't run.
    """
    given = {"--cron": cron is not None, "--every": every is not None, "--remove": remove}
    if sum(given.values()) != 1:
        raise InputError(f"say one of {', '.join(given)}; {' and '.join(name for name, there in given.items() if there)} are given")
    interval = deployments.interval(every) if every is not None else None
    if not remove:
        cli_models.registry_for(uri).resolve(uri)
    known = Deployments(Settings())
    import prefect  # noqa: F401  (its log goes where the console's is)

    server.quiet_console()
    if remove:
        name = deployments.reproduction(uri)
        known.remove(name)
        found: dict[str, Any] = {"name": name, "removed": True}
    else:
        found = known.reproduce(uri, When(cron, interval), Path.cwd())
    if as_json:
        output.document(found)
        return
    typer.echo(f"{uri} isn't rerun any more" if remove else f"{uri} is rerun {found['when']}; next {found['next']}")


def reproduce(uri: str, revision: str | None, overrides: list[str], keep: bool, as_json: bool) -> int:
    """Returns the exit code: 3 if the version drifted."""
    settings = Settings()
    cli_models.registry_for(uri).resolve(uri)  # a wrong name is told before anything starts
    with services.prefect(settings) as wait:
        from flows import reproduce as flow

        server.quiet_console()
        wait()
        record = flow.reproduce(uri, revision, overrides, keep)
    if as_json:
        output.document(record)
    else:
        for line in flow.lines(record):
            typer.echo(line)
    return DRIFTED if record["verdict"] == "drifted" else DONE
