"""Where a mixture-of-experts model sends each token, and how evenly its experts are used.

Balance of a layer with E experts, T tokens and k experts a token (Fedus et al. 2021, arXiv 2101.03961):

- ``load``: share of all T·k assignments that each expert gets; ``load_entropy`` is its entropy over ln(E), 1 where even;
- ``aux_loss``: E · Σ load · mean router probability (their equation 4, loads adding up to 1); 1 where even;
- ``busiest``: largest load over the even one;
- ``dropped``: share of assignments that a capacity of ``capacity_factor`` · T·k/E tokens an expert would refuse (their
  equation 3). transformers computes all of them: nothing is dropped here.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.errors import InputError
from components.inspection import Document, Prompt, ViewConfig

if TYPE_CHECKING:
    from rich.console import RenderableType


class Config(ViewConfig):
    """Settings of the experts view.

    Attributes:
        capacity_factor: room an expert would have, over the even load, before it dropped tokens.
        max_tokens: longer texts are cut.
    """

    method: Literal["experts"] = "experts"
    capacity_factor: float = Field(1.25, gt=0)
    max_tokens: int = Field(256, ge=1, le=4096)


def view(config: Config, model: Any, tokenizer: Any, prompt: Prompt) -> Document:
    """One row a routed layer: ``layer``, for each token its ``experts`` and their ``weights`` as the layer multiplies them,
    ``load`` for each expert, the balance, and ``router_entropy``: mean entropy of the router's probabilities, nats.

    Raises:
        InputError: if the model is dense, or routes in a way that isn't known.
    """
    from components.inspect._anatomy import dissect, run, watching
    from components.inspect._text import cut, pieces

    anatomy = dissect(model)
    ids, notes = cut(prompt.ids, config.max_tokens, "routing")
    routers = {i: layer.mlp.gate for i, layer in enumerate(anatomy.layers) if hasattr(layer.mlp, "experts")}
    if not routers:
        raise InputError(
            f"{type(anatomy.model).__name__} is dense: in every layer each token passes through the same MLP, so there are no "
            "experts to look at; Mixtral, Qwen2-MoE, Qwen3-MoE and DeepSeek-V2 have them"
        )
    rows: list[dict[str, Any]] = []

    def take(layer: int, _: Any, output: Any) -> None:
        if not isinstance(output, tuple) or len(output) != 3:
            raise InputError(f"{type(routers[layer]).__name__} doesn't say which experts it chose; this view doesn't know it")
        rows.append({"layer": layer} | _routing(*output, config.capacity_factor))

    with watching(routers, take):
        run(model, ids)
    piece = pieces(tokenizer)
    dense = sorted(set(range(len(anatomy.layers))) - routers.keys())
    facts = {
        "tokens": [piece(i) for i in ids],
        "ids": list(ids),
        "experts": len(rows[0]["load"]),
        "chosen": len(rows[0]["experts"][0]),
        "shared": _shared(anatomy.layers[rows[0]["layer"]].mlp),
        "dense_layers": dense,
    }
    return Document("experts", config.model_dump(), facts, {name: [row[name] for row in rows] for name in rows[0]}, notes)


def _routing(logits: Any, weights: Any, chosen: Any, capacity_factor: float) -> dict[str, Any]:
    """Logits have the shape [tokens, experts]; weights and chosen experts [tokens, k], the heaviest first in what is returned."""
    from components.inspect._text import listed

    count = logits.shape[-1]
    order = weights.float().argsort(-1, descending=True)
    assigned = chosen.flatten().bincount(minlength=count).float()
    load = assigned / assigned.sum()
    scores = logits.float().log_softmax(-1)
    capacity = ceil(capacity_factor * float(assigned.sum()) / count)
    entropy = -float((load * load.clamp(min=1e-30).log()).sum())
    return {
        "experts": chosen.gather(-1, order).tolist(),
        "weights": listed(weights.gather(-1, order).float()),
        "load": listed(load),
        "load_entropy": entropy / log(count) if count > 1 else 1.0,
        "aux_loss": count * float((load * scores.exp().mean(0)).sum()),
        "busiest": float(load.max()) * count,
        "unused": int((assigned == 0).sum()),
        "dropped": float((assigned - capacity).clamp(min=0).sum() / assigned.sum()),
        "router_entropy": float(-(scores.exp() * scores).nansum(-1).mean()),
    }


def _shared(mlp: Any) -> bool:
    """Whether further experts see every token."""
    return hasattr(mlp, "shared_experts") or hasattr(mlp, "shared_expert")


def show(document: Document, width: int) -> Iterator[RenderableType]:
    """Load and balance by layer; then the experts of each token."""
    from components.inspect._text import spark, table, visible

    rows, facts = list(document.rows), document.facts
    keys = ("load_entropy", "busiest", "unused", "dropped", "aux_loss", "router_entropy")
    body = [(row["layer"], spark(row["load"]), *(row[key] for key in keys)) for row in rows]
    title = f"Load of {facts['experts']} experts, {facts['chosen']} a token" + (", and shared ones" if facts["shared"] else "")
    yield table(title, ("layer", "load", *keys), body, ("load",))
    tokens = [
        (visible(token), *("+".join(map(str, row["experts"][i])) for row in rows)) for i, token in enumerate(facts["tokens"][:64])
    ]
    yield table("Experts of each token, the heaviest first", ("token", *(f"layer {r['layer']}" for r in rows)), tokens, ("token",))
