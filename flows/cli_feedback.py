"""``lapidar feedback``: prompts into the arena, what people said, as a dataset, as a run, as a version's evidence."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import output
from flows.cli_arguments import Json

if TYPE_CHECKING:
    from components.settings import Settings

feedback = typer.Typer(name="feedback", help="Turn reviewers' votes into datasets, models and evidence.", no_args_is_help=True)
Recipe = Annotated[str, typer.Argument(help="Recipe whose data method is feedback, by name or path.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="section.key=value, e.g. data.min_agreement=0.75", metavar="[KEY=VALUE]...")
]
DONE, GATE_NOT_PASSED = 0, 3


@feedback.command()
def prompts(
    file: Annotated[Path, typer.Argument(help="JSON Lines with 'prompt', or a dataset's folder: its held-out prompts.")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first ones.")] = None,
    who: Annotated[str, typer.Option("--who", help="Who adds them.")] = "lapidar",
    as_json: Json = False,
) -> None:
    """Add prompts to the arena's queue; those that are there already aren't added again."""
    from components.judges.items import read_prompts
    from components.reviews import arena

    texts = [prompt.text for prompt in read_prompts(file)[:limit]]
    settings = _settings()
    before = arena.waiting(settings, "")
    arena.add_prompts(settings, texts, who)
    added = arena.waiting(settings, "") - before
    if as_json:
        output.document({"read": len(texts), "added": added})
        return
    typer.echo(f"{added} of {len(texts)} prompts are new in the arena's queue")


@feedback.command()
def show(as_json: Json = False) -> None:
    """Show what the votes say: ranking, agreement between reviewers, and who votes as if by chance."""
    from components.reviews import diagnosis, summary

    document = summary.summary(_settings())
    if as_json:
        output.document(document)
        return
    typer.echo(f"{document['votes']} votes of {len(document['reviewers'])} reviewers on {document['prompts']} prompts")
    for model in document["ranking"]:
        (best, worst), points = model["ranks"], model["points"]
        rank = str(best) if best == worst else f"{best}–{worst}"
        shown = f"{points['value']:+.0f} [{points['low']:+.0f}, {points['high']:+.0f}]"
        typer.echo(f"  {rank:>5}  {model['model']}  {shown}  {points['n']} votes")
    for note in document["notes"]:
        typer.echo(f"  {note}")
    if (alpha := document["agreement"]) is not None:
        shown = f"{alpha['value']:.2f} [{alpha['low']:.2f}, {alpha['high']:.2f}]"
        typer.echo(f"agreement between reviewers (Krippendorff's α): {shown} over {alpha['n']} pairs of answers")
    for finding in document["findings"]:
        typer.echo(f"{finding['reviewer']}: {finding['text']}")
    if document["votes"] and not document["findings"]:
        typer.echo(f"no reviewer with {diagnosis.LEAST_VOTES} votes or more votes as if by chance")


@feedback.command()
def build(recipe: Recipe = "feedback", overrides: Overrides = None, as_json: Json = False) -> None:
    """Build the dataset version of what reviewers said until now; runs that wait for new data start."""
    from components.data import prepare, versions
    from components.local_services import address as address_of
    from flows import deployments

    settings, loaded = _settings(), _recipe(recipe, overrides)
    source = prepare.pinned(loaded.data, settings)
    built = versions.build(source, settings, Path.cwd())
    if built.changed and (address := address_of(settings, "prefect")) is not None:
        deployments.announce(address, loaded.name, {"md5": built.ref.md5, "path": str(built.ref.path)})
    described = json.loads((built.ref.path / "dataset.json").read_bytes())
    document = {
        "path": str(built.ref.path),
        "md5": built.ref.md5,
        "changed": built.changed,
        "snapshot": described["source"]["snapshot"],
        "splits": described["splits"],
        "notes": described["notes"],
    }
    if as_json:
        output.document(document)
        return
    for line in _built_lines(document):
        typer.echo(line)


def _built_lines(document: dict[str, Any]) -> list[str]:
    notes = document["notes"]
    found = [
        f"{'new version' if document['changed'] else 'the same version'} {document['md5']} in {document['path']}",
        f"  snapshot {document['snapshot'][:12]}: {notes['votes']} votes and {notes['remarks']} remarks "
        f"of {notes['reviewers']} reviewers",
    ]
    for name, split in document["splits"].items():
        found.append(f"  {name:<11} {split['rows']:>8,} rows of {split['kind']}")
    for name, count in notes["left_out"].items():
        found.append(f"  left out    {count:>8,} {name.replace('_', ' ')}")
    if alpha := notes["agreement"]:
        found.append(
            f"  agreement (Krippendorff's α) {alpha['alpha']:.2f} [{alpha['low']:.2f}, {alpha['high']:.2f}] "
            f"over {alpha['pairs']} pairs of answers that several voted on"
        )
    return found


@feedback.command()
def run(
    recipe: Recipe = "feedback",
    overrides: Overrides = None,
    only_if_new: Annotated[bool, typer.Option("--only-if-new", help="Run nothing if nobody said anything since.")] = False,
    cron: Annotated[str | None, typer.Option("--cron", help='Schedule it, e.g. "0 3 * * *" (UTC); needs `lapidar up`.')] = None,
    every: Annotated[
        str | None, typer.Option("--every", help="Schedule it, e.g. 6h, 1d: runs where there is something new.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the dataset and run the recipe on it, up to a candidate that the gate decides about."""
    from flows import cli_deploy, cli_run, deployments

    settings, loaded = _settings(), _recipe(recipe, overrides)
    if cron is not None or every is not None:
        when = deployments.When(cron, deployments.interval(every) if every else None)
        found = cli_deploy.connect().deploy_feedback(loaded, when, Path.cwd())
        output.document(found) if as_json else typer.echo(cli_deploy.line(found))
        return
    with cli_run.prefect_run(settings) as ready:
        from flows.feedback import feedback as flow

        ready()
        report = flow(loaded, only_if_new)
    if as_json:
        output.document(report)
    if report["run"] is None:
        typer.echo("nobody has said anything new since the last dataset version; nothing was run", err=as_json)
        return
    raise typer.Exit(cli_run.shown(report["run"], settings))


@feedback.command()
def votes(
    uri: Annotated[str, typer.Argument(metavar="VERSION", help="models:/name/version or models:/name@alias")],
    against: Annotated[str | None, typer.Option("--against", help="Only votes against this version; default: all it met.")] = None,
    who: Annotated[str, typer.Option("--who", help="Who adds them, for the audit log.")] = "lapidar",
    as_json: Json = False,
) -> None:
    """Add what the votes say to a version's evidence and decide its gate again. Exit code 3 unless the gate passes."""
    from components.reviews.evidence import evidence
    from flows.cli_models import registry_for

    registry = registry_for(uri)
    version = registry.resolve(uri)
    rival = registry.resolve(against).uri if against and against.startswith("models:/") else against
    found = evidence(_settings(), version.uri, version.digest, rival)
    shown = registry.supplement(version.uri, {"votes": found}, who=who)
    passed = shown["gate"]["verdict"] == "pass"
    if as_json:
        output.document({"version": shown["uri"], "votes": found, "gate": shown["gate"]})
    else:
        rate = found["win_rate"]
        share = f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]" if rate else "not known"
        typer.echo(
            f"{version.uri}: win rate {share} over {rate.get('n', 0)} votes of {found['reviewers']} reviewers "
            f"on {found['prompts']} prompts"
        )
        typer.echo(f"recorded; its gate is now {shown['gate']['verdict']}")
        for reason in shown["gate"]["reasons"]:
            if reason["verdict"] != "pass":
                typer.echo(f"  {reason['verdict']} {reason['check']}: {reason['text']}")
    raise typer.Exit(DONE if passed else GATE_NOT_PASSED)


def _settings() -> Settings:
    from components.settings import Settings

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = Settings()
    settings.prepare()
    return settings


def _recipe(recipe: str, overrides: list[str] | None) -> Any:
    from components import recipe as recipes
    from components.errors import InputError

    loaded = recipes.load(recipe, overrides)
    if loaded.data.method != "feedback":
        raise InputError(
            f"the recipe {loaded.name} reads {loaded.data.method!r}, not what reviewers said; set data.method=feedback"
        )
    return loaded
