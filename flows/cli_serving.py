"""``lapidar serve``, ``chat``, ``up``, ``down``: models that answer, and the services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_arguments import Json

serving = typer.Typer()


@serving.command()
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL…]", help="[NAME=]FOLDER, NAME@ALIAS, NAME/VERSION or NAME=URL#MODEL. Registered ones need no mention."
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option("--adapter", help="BASE+NAME=FOLDER: an adapter over a served folder, asked for as BASE+NAME."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address; other than loopback only with a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8765,
    memory: Annotated[str, typer.Option("--memory", help="Budget for loaded models: a size, or a share of what is free.")] = "80%",
    queue: Annotated[int, typer.Option("--queue", min=1, help="Requests that may wait for a model; more get 429.")] = 256,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Bearer tokens, one a line; LAPIDAR_SERVER_TOKEN is one, too.")
    ] = None,
    max_request: Annotated[str, typer.Option("--max-request", help="Size of the largest request.")] = "4MiB",
    verify: Annotated[
        str | None,
        typer.Option("--verify", help="Serve nothing; hold the running server's answers against NAME/VERSION's weights."),
    ] = None,
) -> None:
    """Serve models behind OpenAI's API: chat, completions, streaming. Loads them when they are asked for."""
    from flows import cli_serve

    if verify is not None:
        raise typer.Exit(cli_serve.verify(verify, host, port))
    cli_serve.serve(models or [], adapter or [], host, port, memory, queue, token_file, max_request)


@serving.command()
def chat(
    model: Annotated[str, typer.Argument(help="NAME@ALIAS, NAME/VERSION, a model's folder, or URL#MODEL of an endpoint.")],
    message: Annotated[str | None, typer.Option("--message", "-m", help="Answer this (and a pipe's text) and end.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="What the model is told before the conversation.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="Most tokens of an answer.")] = None,
    seed: Annotated[int | None, typer.Option("--seed")] = None,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", help="A tool's name, Python file or folder; NAME:KEY=VALUE,… sets it up.")
    ] = None,
    tool_choice: Annotated[str | None, typer.Option("--tool-choice", help="required, or the tool to call first.")] = None,
    trust_tools: Annotated[bool, typer.Option("--trust-tools", help="Run tool files with your rights, not sandboxed.")] = False,
    load: Annotated[Path | None, typer.Option("--load", help="Go on with a conversation that /save wrote.")] = None,
    as_json: Json = False,
) -> None:
    """Talk to a model in the terminal: on the running model server, else one that lives as long as the chat."""
    from flows import cli_chat

    settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed, "tool_choice": tool_choice}
    cli_chat.chat(
        model,
        message=message,
        system=system,
        tools=tool or [],
        trust=trust_tools,
        load=load,
        settings=settings,
        as_json=as_json,
    )


@serving.command()
def up(as_json: Json = False) -> None:
    """Start the local services: Prefect server and worker, MLflow, model server, dashboard. Finds them if they run already."""
    from flows import cli_services

    cli_services.up(as_json)


@serving.command()
def down(as_json: Json = False) -> None:
    """Stop the local services."""
    from flows import cli_services

    cli_services.down(as_json)
