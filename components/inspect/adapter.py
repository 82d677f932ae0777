"""What an adapter changes in each weight matrix: how much, in how many directions, and in which.

ΔW is the difference between the weights that the adapted model acts with and those of its base (4-bit ones dequantized):

- LoRA (Hu et al. 2021, arXiv 2106.09685) and rsLoRA (arXiv 2312.03732): scaling · B·A, never formed; its singular values are
  those of an r × r matrix, after a QR decomposition of both factors;
- DoRA (arXiv 2402.09353): m / ‖W + scaling·B·A‖ · (W + scaling·B·A) - W with the norm of each output's row;
- PiSSA (arXiv 2404.02948): against the weights it was split from, not against the residual that it is added to.

Effective rank is exp(entropy of σ/Σσ) (Roy & Vetterli 2007); stable rank ‖ΔW‖²_F / ‖ΔW‖²_2. Overlap is the subspace
similarity φ(i, j) = ‖U_iᵀ U_j‖²_F / min(i, j) of arXiv 2106.09685, section 7.2, between the first i singular directions of
ΔW and the first j of W: 0 orthogonal, 1 contained; ``chance`` is its mean for random directions, max(i, j) / n.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from components.errors import InputError
from components.inspection import Document, Prompt, ViewConfig

if TYPE_CHECKING:
    from rich.console import RenderableType


class Config(ViewConfig):
    """Settings of the adapter view.

    Attributes:
        modules: regular expression that a module's name must match somewhere; None for all.
        directions: first singular directions compared with those of the base.
        values: singular values shown for each module.
        seconds: modules that don't get their turn in this time are left out.
        exact_up_to: matrices with a smaller side up to this get a full decomposition, larger ones a randomised one
            (Halko et al. 2011) of the first directions.
    """

    needs_prompt: ClassVar[bool] = False
    method: Literal["adapter"] = "adapter"
    modules: str | None = None
    directions: int = Field(8, ge=1, le=64)
    values: int = Field(64, ge=1, le=256)
    seconds: float = Field(120.0, gt=0)
    exact_up_to: int = Field(512, ge=1)


def view(config: Config, model: Any, tokenizer: Any, prompt: Prompt | None) -> Document:
    """One row an adapted module: ``module, layer, kind, out, in, r, scaling``, Frobenius and spectral norm of ΔW, of the base
    and their ratios, ``singular_values``, ``effective_rank``, ``stable_rank``, and the overlap of ``left`` (output) and
    ``right`` (input) directions with the base's, each beside its ``chance``.

    ``facts`` says what kind of adapter it is, what it covers, and how long the whole update is against the base.

    Raises:
        InputError: if the model has no LoRA adapter, none of it matches ``modules``, or it is merged already.
    """
    from components.inspect._update import adapted, measure

    layers, name = adapted(model)
    chosen = {n: m for n, m in layers.items() if config.modules is None or re.search(config.modules, n)}
    if not chosen:
        raise InputError(f"modules={config.modules!r} matches none of the adapted modules, e.g. {next(iter(layers))}")
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for module, layer in chosen.items():
        if rows and time.monotonic() - began > config.seconds:
            left = len(chosen) - len(rows)
            notes.append(f"{left} of {len(chosen)} modules left out after {config.seconds:g} s; raise seconds or name modules")
            break
        rows.append(_place(module) | measure(model, module, layer, name, config.directions, config.values, config.exact_up_to))
    if estimated := sum(row.pop("estimated") for row in rows):
        notes.append(f"{estimated} modules exceed exact_up_to={config.exact_up_to}: directions of dense matrices are estimated")
    if unknown := sum(row["base_frobenius"] is None for row in rows):
        notes.append(f"{unknown} modules have a base whose weights can't be read as numbers, so nothing is compared with it")
    if idle := sum(row["frobenius"] == 0 for row in rows):
        notes.append(f"{idle} modules are as they were before training (ΔW is zero)")
    facts = _facts(model, name, layers, rows)
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return Document("adapter", config.model_dump(), facts, columns, tuple(notes))


def _place(module: str) -> dict[str, Any]:
    match = re.search(r"(?:^|\.)layers\.(\d+)\.", module)
    return {"module": module, "layer": int(match.group(1)) if match else None, "kind": module.rpartition(".")[2]}


def _facts(model: Any, name: str, layers: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    import torch

    config = model.peft_config[name]
    flags = [("dora", config.use_dora), ("rslora", config.use_rslora), ("pissa", str(config.init_lora_weights).startswith("pissa"))]
    places = [_place(module) for module in layers]
    kinds = sorted({place["kind"] for place in places})
    linear = [n for n, m in model.get_base_model().named_modules() if isinstance(m, torch.nn.Linear) and ".lora_" not in n]
    squares = [sum(row[key] ** 2 for row in rows if row["base_frobenius"]) for key in ("frobenius", "base_frobenius")]
    return {
        "adapter": name,
        "variant": [flag for flag, is_set in flags if is_set] or ["lora"],
        "r": config.r,
        "alpha": config.lora_alpha,
        "layers": sorted({place["layer"] for place in places if place["layer"] is not None}),
        "kinds": kinds,
        "modules": len(layers),
        "kinds_left_alone": sorted({n.removesuffix(".base_layer").rpartition(".")[2] for n in linear} - set(kinds)),
        "parameters": sum(p.numel() for n, p in model.named_parameters() if "lora_" in n and f".{name}" in n),
        "frobenius": squares[0] ** 0.5,
        "relative": (squares[0] / squares[1]) ** 0.5 if squares[1] else None,
    }


def show(document: Document, width: int) -> Iterator[RenderableType]:
    """A map of layer × kind with the relative size of the change, then one line a module."""
    from components.inspect._text import shade, spark, table

    facts, rows = document.facts, list(document.rows)
    cells = {(row["layer"], row["kind"]): row["relative_frobenius"] for row in rows}
    top = max((value for value in cells.values() if value is not None), default=0.0)
    layers = sorted({row["layer"] for row in rows}, key=lambda layer: -1 if layer is None else layer)
    body = [
        [layer, *(shade(v, top, f" {v:.4f} ") if (v := cells.get((layer, kind))) is not None else "" for kind in facts["kinds"])]
        for layer in layers
    ]
    title = f"{'+'.join(facts['variant'])}, r={facts['r']}, {facts['parameters']} parameters: ‖ΔW‖ / ‖W‖ (Frobenius)"
    yield table(title, ("layer", *facts["kinds"]), body)
    keys = ("frobenius", "relative_frobenius", "spectral", "relative_spectral", "effective_rank", "stable_rank")
    names = ("module", "‖ΔW‖F", "of W", "‖ΔW‖2", "of W", "eff. rank", "stable rank", "out overlap", "in overlap", "σ")
    overlaps = [[_beside(row, side) for side in ("left", "right")] for row in rows]
    lines = [
        (row["module"].removeprefix("model."), *(row[key] for key in keys), *beside, spark(row["singular_values"][:16]))
        for row, beside in zip(rows, overlaps, strict=True)
    ]
    yield table("Change of each module (overlap with the base's first directions / by chance)", names, lines, ("module", "σ"))
    share = "" if facts["relative"] is None else f", {facts['relative']:.2%} of the adapted weights"
    alone = f"; left alone: {', '.join(facts['kinds_left_alone'])}" if facts["kinds_left_alone"] else ""
    yield f"whole update: {facts['frobenius']:.3f}{share}; {facts['modules']} modules in layers {_span(facts['layers'])}{alone}"


def _beside(row: dict[str, Any], side: str) -> str:
    value = row[f"{side}_overlap"]
    return "" if value is None else f"{value:.2f}/{row[f'{side}_chance']:.2f}"


def _span(layers: list[int]) -> str:
    whole = layers and layers == list(range(layers[0], layers[-1] + 1))
    return f"{layers[0]} to {layers[-1]}" if whole else ", ".join(map(str, layers)) or "none"
