"""``lapidar reproduce``: reruns a registered version from its record and prints the verdict."""

from __future__ import annotations

import typer

from components.settings import Settings
from flows import cli_models, output, server, services

DONE, DRIFTED = 0, 3


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
