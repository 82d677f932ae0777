"""How long the residual stream is after each layer, what attention and MLP add to it, and how normalisation weighs it.

All lengths are L2 norms of one token's vector. A layer computes ``x + attention(norm(x))``, then adds ``mlp(norm(…))``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.inspection import Document, Prompt, ViewConfig

if TYPE_CHECKING:
    from rich.console import RenderableType


class Config(ViewConfig):
    """Settings of the norms view.

    Attributes:
        max_tokens: longer texts are cut.
    """

    method: Literal["norms"] = "norms"
    max_tokens: int = Field(128, ge=1, le=2048)


def view(config: Config, model: Any, tokenizer: Any, prompt: Prompt) -> Document:
    """One row a layer, ``layer`` 0 being the embeddings: for each token the norm of the ``hidden`` state after it (before
    the final norm), and of what ``attention`` and ``mlp`` added; ``norm_weights``: JSON-ready statistics by module name.

    ``facts`` holds the tokens, the final norm's weights, and ``unexplained``: the largest share of a hidden state that isn't
    its layer's input plus both contributions (0 up to rounding, unless the architecture adds something else).
    """
    from components.inspect._anatomy import dissect, run, tensor, watching
    from components.inspect._text import cut, listed, pieces

    anatomy = dissect(model)
    ids, notes = cut(prompt.ids, config.max_tokens, "norms")
    parts = {(part, i): m for i, layer in enumerate(anatomy.layers) for part, m in _parts(layer).items()}
    added: dict[str, Any] = {}
    lengths: dict[tuple[str, int], list[float]] = {}
    unexplained = 0.0

    def take(key: tuple[str, int], inputs: Any, output: Any) -> None:
        nonlocal unexplained
        part, layer = key
        hidden = tensor(output)
        lengths[part, layer + 1] = listed(hidden.norm(dim=-1))
        if part != "hidden":
            added[part] = hidden
            return
        before = tensor(inputs)
        if layer == 0:
            lengths["hidden", 0] = listed(before.norm(dim=-1))
        rest = hidden - before - added.pop("attention") - added.pop("mlp")
        unexplained = max(unexplained, float((rest.norm(dim=-1) / hidden.norm(dim=-1)).max()))

    with watching(parts, take):
        run(model, ids)
    if unexplained > 0.01:
        notes += (
            f"up to {unexplained:.0%} of a hidden state isn't its input plus attention plus MLP: this architecture normalises or "
            "scales in between, so the contributions are what the modules give, not what is added",
        )
    count = len(anatomy.layers) + 1
    columns: dict[str, list[Any]] = {"layer": list(range(count))}
    columns |= {part: [lengths.get((part, i)) for i in range(count)] for part in ("hidden", "attention", "mlp")}
    columns["norm_weights"] = [[], *(_weights(layer) for layer in anatomy.layers)]
    piece = pieces(tokenizer)
    facts = {
        "tokens": [piece(i) for i in ids],
        "ids": list(ids),
        "final_norm": _statistics("norm", anatomy.norm.weight),
        "unexplained": unexplained,
    }
    return Document("norms", config.model_dump(), facts, columns, notes)


def _parts(layer: Any) -> dict[str, Any]:
    return {"attention": layer.self_attn, "mlp": layer.mlp, "hidden": layer}


def _weights(layer: Any) -> list[dict[str, Any]]:
    """Of every normalisation in a layer, those inside attention too (queries and keys of Qwen3, latents of DeepSeek-V2)."""
    return [_statistics(n, m.weight) for n, m in layer.named_modules() if type(m).__name__.lower().endswith("norm")]


def _statistics(name: str, weight: Any) -> dict[str, Any]:
    """Mean, deviation and range of a normalisation's weights, and the three dimensions that it amplifies most."""
    from components.inspect._text import listed

    values = weight.float()
    largest = values.abs().topk(min(3, len(values))).indices.tolist()
    found = {"mean": values.mean(), "std": values.std(unbiased=False), "min": values.min(), "max": values.max()}
    return {"name": name, "width": len(values)} | {k: listed(v) for k, v in found.items()} | {"largest": largest}


def show(document: Document, width: int) -> Iterator[RenderableType]:
    """Means over tokens by layer with a curve over the tokens; then the normalisation weights."""
    from components.inspect._text import short, spark, table

    def mean(values: list[float] | None) -> float | None:
        return sum(values) / len(values) if values else None

    rows = list(document.rows)
    body = [
        (row["layer"] or "embeddings", *(mean(row[part]) for part in ("hidden", "attention", "mlp")), spark(row["hidden"][:64]))
        for row in rows
    ]
    names = ("layer", "hidden state", "attention adds", "MLP adds", "hidden state by token")
    yield table("Norms, means over tokens", names, body, names[-1:])
    keys = ("name", "width", "mean", "std", "min", "max", "largest")
    weights = [(row["layer"], *(w[k] for k in keys)) for row in rows for w in row["norm_weights"]]
    weights.append(("", *(document.facts["final_norm"][k] for k in keys)))
    yield table("Normalisation weights (largest: dimensions)", ("layer", *keys), weights, ("name",))
    yield f"not explained by input + attention + MLP: {short(document.facts['unexplained'])} of a hidden state"
