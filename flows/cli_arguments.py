"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Recipe = Annotated[str, typer.Argument(help="Recipe by name (quickstart) or path.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings of this run, e.g. sft.lr=1e-3", metavar="[KEY=VALUE]...")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, everything else on stderr.")]
