"""``lapidar data``: builds, checks, lists and compares dataset versions."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import output
from flows.cli_arguments import Json, Recipe

if TYPE_CHECKING:
    from components.artifacts import DatasetRef

data = typer.Typer(name="data", help="Build, check, list and compare dataset versions.", no_args_is_help=True)
Overrides = Annotated[list[str] | None, typer.Argument(help="section.key=value, e.g. data.seed=3", metavar="[KEY=VALUE]...")]


@data.command()
def build(recipe: Recipe, overrides: Overrides = None, as_json: Json = False) -> None:
    """Build a recipe's dataset, check it, and make it a version (pushed where a DVC remote is set)."""
    from components import local_services
    from components import recipe as recipes
    from components.data import versions
    from components.settings import Settings
    from flows import deployments

    _log()
    settings = Settings()
    settings.prepare()
    loaded = recipes.load(recipe, overrides)
    built = versions.build(loaded.data, settings, Path.cwd())
    if built.changed and (address := local_services.address(settings, "prefect")) is not None:
        deployments.announce(address, loaded.name, {"md5": built.ref.md5, "path": str(built.ref.path)})
    document = {
        **_described(built.ref),
        "changed": built.changed,
        "pushed": built.pushed,
        "replaced": str(built.replaced) if built.replaced else None,
    }
    if as_json:
        output.document(document)
        return
    typer.echo(f"{'new version' if built.changed else 'the same version'} {built.ref.md5} in {built.ref.path}")
    _print_splits(document)
    if built.replaced:
        typer.echo(f"the files that stood there before are in {built.replaced}")
    if built.pushed:
        typer.echo(f"pushed to {built.pushed}")


@data.command()
def validate(recipe: Recipe, overrides: Overrides = None, as_json: Json = False) -> None:
    """Check a recipe's dataset: md5, every row's shape, duplicates, held-out rows in training splits."""
    from components import recipe as recipes
    from components.data import prepare, versions
    from components.settings import Settings

    _log()
    settings = Settings()
    settings.prepare()
    ref = versions.ensure(recipes.load(recipe, overrides).data, settings, Path.cwd())
    prepare.validate(ref.path)
    if as_json:
        output.document({**_described(ref), "valid": True})
        return
    typer.echo(f"{ref.path} is valid, version {ref.md5}")
    _print_splits(_described(ref))


@data.command()
def benchmark(
    name: Annotated[str, typer.Argument(help="Benchmark, e.g. gsm8k.")],
    source: Annotated[str, typer.Option("--from", help="Its file or folder in any format, or `hub`.")],
    examples: Annotated[str | None, typer.Option("--examples", help="Solved rows for few-shot prompts.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Split of a dataset on disk that holds several.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="With `--from hub`: the 40-hex commit.")] = None,
    as_json: Json = False,
) -> None:
    """Import a benchmark's data as a DVC version below the home; nothing is fetched unless `--from hub` says so."""
    from components.data import benchmarks
    from components.settings import Settings

    _log()
    if source == "hub":
        made = benchmarks.fetch(name, revision, Settings())
    else:
        made = benchmarks.import_files(name, Path(source), Path(examples) if examples else None, split, Settings())
    if as_json:
        output.document(benchmarks.dump(made))
        return
    whole = f" of {made.size:,}" if made.size and made.size != made.items else ""
    typer.echo(f"{'new version' if made.changed else 'the same version'} {made.ref.md5} in {made.ref.path}")
    typer.echo(f"  {made.items:,}{whole} items, {made.examples:,} solved examples")


@data.command(name="versions")
def list_versions(as_json: Json = False) -> None:
    """List the versions that git and DVC know."""
    from components.data import diff
    from components.settings import Settings

    _log()
    found = diff.versions(Settings(), Path.cwd())
    if as_json:
        output.document([version.dump() for version in found])
        return
    for v in found:
        here = "here" if v.cached else "not here"
        about = " ".join(part for part in (v.date, v.subject, v.method) if part)
        typer.echo(f"{v.name:<28} {v.where:<10} {v.md5[:12]}  {v.size:>12,} bytes  {v.files:>3} files  {here:<9} {about}".rstrip())
    if not found:
        typer.echo("no versions yet; `lapidar data build quickstart` makes one")


@data.command(name="diff")
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="workspace, git revision, private version, or start of an md5")],
    b: Annotated[str, typer.Argument(metavar="B", help="the same")] = "workspace",
    as_json: Json = False,
) -> None:
    """Say which rows were added, removed and changed from A to B."""
    from components.data import diff
    from components.settings import Settings

    _log()
    document = diff.diff(a, b, Settings(), Path.cwd())
    if as_json:
        output.document(document)
        return
    for side in ("a", "b"):
        typer.echo(f"{side}: {document[side]['name']} {document[side]['md5']}")
    for name, split in document["splits"].items():
        counts = ", ".join(f"{split[key]:,} {key}" for key in ("added", "removed", "changed", "unchanged"))
        typer.echo(f"{name}: {counts}")
        for key, sign in (("added", "+"), ("removed", "-"), ("changed", "~")):
            for row in split["samples"][key]:
                typer.echo(f"  {sign} {_short(row)}")


def _described(ref: DatasetRef) -> dict[str, Any]:
    described = json.loads((ref.path / "dataset.json").read_bytes())
    about = {key: described[key] for key in ("source", "splits", "notes")}
    return {"path": str(ref.path), "md5": ref.md5, "revision": ref.revision, **about}


def _print_splits(document: dict[str, Any]) -> None:
    for name, split in document["splits"].items():
        dropped = f"{split['duplicates']} duplicates and {split['leaked']} held-out rows dropped"
        typer.echo(f"  {name:<11} {split['rows']:>8,} rows of {split['kind']:<10} ({dropped})")


def _short(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    return text if len(text) <= 160 else text[:160] + "…"


def _log() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
