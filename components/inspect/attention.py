"""Attention maps: how much each token looks at each token before it, by layer and head, and what kind of head that makes.

The maps are the weights that transformers' eager attention multiplies values with (``output_attentions``). Other
implementations never form them, so the model attends eagerly while it is looked at. Layers are reduced one by one: memory
holds the maps of one layer, and of the heads that were asked for.

Summaries of a head, means over the tokens that look (from the second on):

- ``entropy``: of its weights, in nats; 0 looks at one token, ln(n) at n tokens alike;
- ``distance``: how many tokens back it looks, weighted;
- ``sink``: weight on the first token (attention sinks: Xiao et al. 2023, arXiv 2309.17453);
- ``previous``, ``self``: weight on the token before, and on the token itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.errors import InputError
from components.inspection import Document, Prompt, ViewConfig

if TYPE_CHECKING:
    from rich.console import RenderableType

MEASURES = ("entropy", "distance", "sink", "previous", "self")


class Config(ViewConfig):
    """Settings of the attention view.

    Attributes:
        layers: whose maps are shown, counted from 0; None for all. Summaries are of all layers.
        heads: whose maps are shown, counted from 0; None for all.
        maps: False leaves the maps out.
        max_tokens: longer texts are cut; a map holds about half the square of it.
        max_values: weights in all maps together; maps beyond it are left out, the last layers' first.
    """

    method: Literal["attention"] = "attention"
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    maps: bool = True
    max_tokens: int = Field(64, ge=2, le=1024)
    max_values: int = Field(60_000, ge=1, le=700_000)


def view(config: Config, model: Any, tokenizer: Any, prompt: Prompt) -> Document:
    """One row a head: ``layer, head``, the summaries, and ``map``: for each token its weights on the tokens up to itself.

    ``facts`` holds the tokens.

    Raises:
        InputError: for a layer or head that the model hasn't, one token only, or a model without eager attention.
    """
    from components.inspect._anatomy import dissect, run, watching
    from components.inspect._text import cut, listed, pieces

    anatomy = dissect(model)
    ids, notes = cut(prompt.ids, config.max_tokens, "attention")
    if len(ids) < 2:
        raise InputError("attention needs a text of two tokens or more; the first can only look at itself")
    wanted = _asked(config.layers, len(anatomy.layers), "layer")
    size, left = len(ids) * (len(ids) + 1) // 2, config.max_values
    rows: list[dict[str, Any]] = []
    skipped = 0

    def take(layer: int, _: Any, output: Any) -> None:
        nonlocal left, skipped
        if not isinstance(output, tuple) or output[1] is None:
            raise InputError(f"{type(anatomy.model).__name__} has no eager attention, so there are no attention weights to show")
        weights = output[1][0].float()
        heads = _asked(config.heads, len(weights), "head")
        summaries = {name: listed(values) for name, values in _summaries(weights).items()}
        for head in range(len(weights)):
            chosen = config.maps and layer in wanted and head in heads
            fits = chosen and left >= size
            left, skipped = left - size * fits, skipped + (chosen and not fits)
            triangle = [listed(row[: i + 1], 4) for i, row in enumerate(weights[head])] if fits else None
            rows.append({"layer": layer, "head": head} | {n: v[head] for n, v in summaries.items()} | {"map": triangle})

    with _eager(anatomy.model), watching({i: layer.self_attn for i, layer in enumerate(anatomy.layers)}, take):
        run(model, ids)
    if skipped:
        notes += (
            f"{skipped} maps left out beyond max_values={config.max_values}; choose layers=[…] and heads=[…], or fewer tokens",
        )
    piece = pieces(tokenizer)
    facts = {
        "tokens": [piece(i) for i in ids],
        "ids": list(ids),
        "layers": len(anatomy.layers),
        "heads": len(rows) // len(anatomy.layers),
        "kv_heads": getattr(anatomy.config, "num_key_value_heads", None),
    }
    names = ("layer", "head", *MEASURES, "map")
    return Document("attention", config.model_dump(mode="json"), facts, {n: [row[n] for row in rows] for n in names}, notes)


def _asked(chosen: tuple[int, ...] | None, count: int, what: str) -> set[int]:
    wrong = [index for index in chosen or () if not 0 <= index < count]
    if wrong:
        raise InputError(f"there is no {what} {wrong[0]}; the model has {what}s 0 to {count - 1}")
    return set(range(count)) if chosen is None else set(chosen)


def _summaries(weights: Any) -> dict[str, Any]:
    """Means over queries from the second on; weights have the shape [heads, queries, keys], results [heads]."""
    import torch

    count = weights.shape[-1]
    positions = torch.arange(count, device=weights.device)
    back = (positions[:, None] - positions[None, :]).clamp(min=0).float()
    looking = weights[:, 1:]
    return {
        "entropy": -torch.xlogy(looking, looking).sum(-1).mean(-1),
        "distance": (looking * back[1:]).sum(-1).mean(-1),
        "sink": looking[..., 0].mean(-1),
        "previous": weights.diagonal(-1, 1, 2).mean(-1),
        "self": weights.diagonal(0, 1, 2)[:, 1:].mean(-1),
    }


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Eager attention meanwhile, in every part of the model that has a configuration of its own."""
    from transformers import PreTrainedModel

    parts = [module.config for module in model.modules() if isinstance(module, PreTrainedModel)]
    configs = {id(c): c for part in parts for c in (part, part.get_text_config())}
    before = {key: config._attn_implementation_internal for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation_internal = "eager"
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation_internal = before[key]


def show(document: Document, width: int) -> Iterator[RenderableType]:
    """All heads' summaries, and the maps of the heads that were asked for (else of the one that sinks least)."""
    from components.inspect._text import blocks, shade, table, visible

    rows, tokens = list(document.rows), document.facts["tokens"]
    top = {name: max(row[name] for row in rows) for name in MEASURES}
    cells = [[row["layer"], row["head"], *(shade(row[n], top[n], f" {row[n]:6.3f} ") for n in MEASURES)] for row in rows]
    yield table("Attention heads (entropy in nats, distance in tokens, others are shares)", ("layer", "head", *MEASURES), cells)
    mapped = [row for row in rows if row["map"] is not None]
    if document.settings["layers"] is None or document.settings["heads"] is None:
        mapped = sorted(mapped, key=lambda row: row["sink"])[:1]
    fits = max(1, (width - 16) // 2)
    for row in mapped:
        body = [(i, visible(tokens[i]), blocks(line[:fits])) for i, line in enumerate(row["map"])]
        scale = "".join(f"{i % 100:2d}" for i in range(min(len(tokens), fits)))
        title = f"layer {row['layer']}, head {row['head']}: what each token looks at (· nothing, █ all)"
        yield table(title, ("#", "token", scale), body, ("token", scale))
