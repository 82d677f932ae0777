"""The command line ``lapidar``. Imports what a command needs when it runs, so that ``--help`` answers at once.

Exit codes: 0 done, 1 failed, 2 wrong usage or wrong input, 3 done but the gate did not pass.
"""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer._click.exceptions import ClickException  # typer brings a click of its own and doesn't export its errors

from components.errors import InputError, LapidarError
from flows import output
from flows.cli_accounts import accounts
from flows.cli_data import data
from flows.cli_feedback import feedback

app = typer.Typer(
    name="lapidar",
    help="Fine-tune and align open language models into registered versions that prove themselves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(name="models", help="List, show and promote registered versions.", no_args_is_help=True)
app.add_typer(data)
app.add_typer(models)
app.add_typer(feedback)
app.add_typer(accounts)

Recipe = Annotated[str, typer.Argument(help="Recipe by name (quickstart) or path.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings of this run, e.g. sft.lr=1e-3", metavar="[KEY=VALUE]...")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, everything else on stderr.")]


@app.command()
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


@app.command()
def plan(recipe: Recipe, overrides: Overrides = None, as_json: Json = False) -> None:
    """Say what a run would do: settings, data, stages with reasons, cost, rows as the model sees them. Runs nothing."""
    from flows import cli_plan

    cli_plan.plan(recipe, overrides or [], as_json)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="models:/name/version, models:/name@alias, a folder, or URL#model of an endpoint.")],
    suite: Annotated[str, typer.Argument(help="Suite or benchmark by name, or a YAML file with a recipe's evaluate section.")],
    overrides: Overrides = None,
    compare: Annotated[str | None, typer.Option("--compare", help="Another model, compared on the same items.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure anew although this was measured already.")] = False,
    cron: Annotated[str | None, typer.Option("--cron", help='Schedule it, e.g. "0 3 * * *" (UTC); needs `lapidar up`.')] = None,
    every: Annotated[str | None, typer.Option("--every", help="Schedule it, e.g. 6h, 1d.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a model that exists: scores with intervals, and what they can show. Goes on where it was broken off."""
    from flows import cli_evaluate

    if cron is not None or every is not None:
        cli_evaluate.schedule(model, suite, overrides or [], compare, cron, every)
    else:
        cli_evaluate.evaluate(model, suite, overrides or [], compare, again)


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


@app.command()
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


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Registered model's name.")],
    who: Annotated[str, typer.Option("--who", help="Who rolls back.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    as_json: Json = False,
) -> None:
    """Make the previous champion champion again, by the audit log."""
    from flows import cli_promote

    cli_promote.rollback(name, who, reason, as_json)


@app.command()
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
    uri: Annotated[str, typer.Argument(metavar="VERSION", help="models:/name/version or models:/name@alias")], as_json: Json = False
) -> None:
    """Decide a version's gate again, on the evidence that it has now and against the present champion."""
    from flows import cli_promote

    raise typer.Exit(cli_promote.gate(uri, as_json))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="models:/name/version, or the folder of a sealed evaluation")],
    second: Annotated[str, typer.Argument(metavar="B", help="what A is compared with")],
    as_json: Json = False,
) -> None:
    """Compare two models on the same items: paired, corrected over all benchmarks, held against the noise floor."""
    from flows import cli_compare

    cli_compare.compare(first, second, as_json)


@app.command()
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


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="models:/name/version, models:/name@alias, or a folder.")],
    view: Annotated[str, typer.Argument(help="tokens, attention, norms, logit_lens, neighbours, rope, experts, adapter")],
    settings: Annotated[list[str] | None, typer.Argument(help="Settings of the view, e.g. top=3", metavar="[KEY=VALUE]...")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Text that the model reads.")] = None,
    answer: Annotated[str, typer.Option("--answer", help="What follows the prompt; tokens are scored here.")] = "",
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Folder of an adapter to put on the model.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the view as FILE.arrow or FILE.json.")] = None,
    as_json: Json = False,
) -> None:
    """Look inside a model: one view of what it makes of a prompt, or of its weights."""
    from flows import cli_inspect

    cli_inspect.inspect(model, view, settings or [], prompt, answer, chat, adapter, out, as_json)


@app.command()
def contamination(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="Training data: a file, a folder, or models:/NAME/VERSION.")],
    suite: Annotated[list[str], typer.Argument(metavar="SUITE...", help="Benchmarks: files, dataset folders, names.")],
    field: Annotated[list[str] | None, typer.Option("--field", help="Benchmark's fields, e.g. text=problem, choices=0+1.")] = None,
    corpus_field: Annotated[list[str] | None, typer.Option("--corpus-field", help="Fields of the corpus; default: all.")] = None,
    methods: Annotated[str, typer.Option("--methods", help="Comma-separated; default: all that apply.")] = "",
    require: Annotated[str, typer.Option("--require", help="Methods without which nothing is clean, comma-separated.")] = "",
    model: Annotated[str | None, typer.Option("--model", help="Also ask this model: a folder or models:/NAME/VERSION.")] = None,
    calibration: Annotated[str | None, typer.Option("--calibration", help="File of items it can't have seen.")] = None,
    evaluation: Annotated[
        str | None, typer.Option("--evaluation", help="Evaluation folder or version: scores with and without flagged items.")
    ] = None,
    judge: Annotated[str | None, typer.Option("--judge", help="URL#MODEL that confirms rephrased items.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; default: all cores.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the shuffled orders.")] = 0,
    show: Annotated[int, typer.Option("--show", help="Matches to print.")] = 5,
    as_json: Json = False,
) -> None:
    """Look for benchmarks' items in a corpus, and in a model's memory: clean, contaminated, or not checked."""
    from flows import cli_contamination as command

    command.contamination(
        command.Asked(
            corpus, suite, field or (), corpus_field or (), _names(methods), _names(require),
            model, calibration, evaluation, judge, workers, seed, show,
        ),
        as_json,
    )  # fmt: skip


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command()
def judge(
    sides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B [C…] PROMPTS", help="Models (models:/…, folder, URL#model) or JSONL of answers; then the prompts."
        ),
    ] = None,
    by: Annotated[
        str, typer.Option("--judge", help="URL#model, models:/…, a folder (also a reward model), or first|longest|shortest|random.")
    ] = "",
    mode: Annotated[
        Literal["pairwise", "rubric"], typer.Option("--mode", help="Compare two answers, or rate each from 1 to 10.")
    ] = "pairwise",
    audit: Annotated[
        str | None,
        typer.Option("--audit", help="Hold the judge against people: pandalm, llmbar-natural, llmbar-mt-bench, or a file."),
    ] = None,
    record: Annotated[str | None, typer.Option("--record", help="Add the verdict to this version's evidence.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Version of the judge's prompt; default: the newest.")] = None,
    criteria: Annotated[Path | None, typer.Option("--criteria", help="File that says what a good answer is.")] = None,
    family: Annotated[str | None, typer.Option("--judge-family", help="Who made the judge, where its name doesn't tell.")] = None,
    canaries: Annotated[
        float, typer.Option("--canaries", min=0, max=1, help="Share of items judged again with an injection.")
    ] = 0.1,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Limit of the answers.")] = 512,
    judge_tokens: Annotated[int, typer.Option("--judge-tokens", min=1, help="Limit of the judge's outputs.")] = 1024,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Of the answers; the judge's is 0.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for an endpoint.")] = 120.0,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests to an endpoint at a time.")] = 8,
    as_json: Json = False,
) -> None:
    """Let a judge compare answers in both orders, and audit the judge. LAPIDAR_ENDPOINT_TOKEN is sent to endpoints."""
    from flows import cli_judge

    if not by:
        raise InputError(
            "name the judge with --judge: URL#model, models:/name/version, a folder, or a built-in rule such as longest"
        )
    options = cli_judge.Options(
        by,
        mode,
        prompt,
        criteria,
        family,
        audit,
        record,
        canaries,
        max_tokens,
        judge_tokens,
        temperature,
        seed,
        timeout,
        concurrency,
    )
    cli_judge.judge(sides or [], options, as_json)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def up(as_json: Json = False) -> None:
    """Start the local services: Prefect server and worker, MLflow, model server, dashboard. Finds them if they run already."""
    from flows import cli_services

    cli_services.up(as_json)


@app.command()
def down(as_json: Json = False) -> None:
    """Stop the local services."""
    from flows import cli_services

    cli_services.down(as_json)


def main() -> None:
    """Entry point: runs the command and turns errors into messages and exit codes."""
    logging.raiseExceptions = False  # a log that can't be written (a full disk) isn't worth a stack on the terminal
    as_json = "--json" in sys.argv[1:]
    if as_json:
        output.only_json()
    sys.exit(_run(as_json))


def _run(as_json: bool) -> int:
    try:
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ClickException as error:
        error.show(sys.stderr)
        if as_json:
            output.error("UsageError", error.format_message())
        return 2
    except InputError as error:
        _fail(as_json, "InputError", str(error))
        return 2
    except LapidarError as error:
        _fail(as_json, type(error).__name__, str(error))
        return 1
    except (KeyboardInterrupt, typer.Abort):
        _fail(as_json, "Interrupted", "interrupted; finished stages are kept, run again to go on")
        return 1
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = f" ({error.filename})" if error.filename else ""
            _fail(as_json, "InputError", f"the disk is full{place}; make room and run again, finished stages are kept")
            return 2
        return _unexpected(as_json, error)
    except Exception as error:
        return _unexpected(as_json, error)


def _unexpected(as_json: bool, error: Exception) -> int:
    logging.getLogger(__name__).error("unexpected error", exc_info=error)
    _fail(as_json, type(error).__name__, f"{type(error).__name__}: {error}")
    return 1


def _fail(as_json: bool, kind: str, message: str) -> None:
    print(f"lapidar: {message}", file=sys.stderr)
    if as_json:
        output.error(kind, message)


if __name__ == "__main__":
    main()
