"""``lapidar evaluate``, ``compare``, ``contamination``, ``judge``, ``inspect``: what models are worth, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from components.errors import InputError
from flows.cli_arguments import Json, Overrides

measures = typer.Typer()


@measures.command()
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


@measures.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="models:/name/version, or the folder of a sealed evaluation")],
    second: Annotated[str, typer.Argument(metavar="B", help="what A is compared with")],
    as_json: Json = False,
) -> None:
    """Compare two models on the same items: paired, corrected over all benchmarks, held against the noise floor."""
    from flows import cli_compare

    cli_compare.compare(first, second, as_json)


@measures.command()
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


@measures.command()
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
    again: Annotated[bool, typer.Option("--again", help="Judge anew although this was judged already.")] = False,
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
        again,
    )
    cli_judge.judge(sides or [], options, as_json)


@measures.command()
def inspect(
    model: Annotated[str, typer.Argument(help="models:/name/version, models:/name@alias, or a folder.")],
    view: Annotated[
        str, typer.Argument(help="tokens, attention, norms, logit_lens, neighbours, rope, experts, adapter, sensitivity")
    ],
    settings: Annotated[list[str] | None, typer.Argument(help="Settings of the view, e.g. top=3", metavar="[KEY=VALUE]...")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Text that the model reads.")] = None,
    answer: Annotated[str, typer.Option("--answer", help="What follows the prompt; tokens are scored here.")] = "",
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Folder of an adapter to put on the model.")] = None,
    rows: Annotated[Path | None, typer.Option("--rows", help="SFT rows (JSONL) to measure sensitivity on.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the view as FILE.arrow or FILE.json.")] = None,
    as_json: Json = False,
) -> None:
    """Look inside a model: one view of what it makes of a prompt, or of its weights."""
    from flows import cli_inspect

    cli_inspect.inspect(model, view, settings or [], prompt, answer, chat, adapter, rows, out, as_json)
