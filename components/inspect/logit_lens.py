"""What the model would say if it stopped after each layer: the residual stream through final norm and unembedding.

After nostalgebraist, "interpreting GPT: the logit lens" (2020). The last layer is the model's own prediction; ``facts``
says by how much it differs, which is nothing up to rounding. Early layers needn't live in the space that the unembedding
reads, so what they "say" is a hint, not a thought.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.errors import InputError
from components.inspection import Document, Prompt, ViewConfig

if TYPE_CHECKING:
    from rich.console import RenderableType


class Config(ViewConfig):
    """Settings of the logit lens.

    Attributes:
        top: tokens shown for each layer and position.
        positions: which of the text's tokens predict, counted from 0 or from the end (-1); None for the last ``last``.
        last: how many of the last tokens, where ``positions`` doesn't say.
        max_tokens: longest text.
    """

    method: Literal["logit_lens"] = "logit_lens"
    top: int = Field(3, ge=1, le=20)
    positions: tuple[int, ...] | None = Field(None, max_length=256)
    last: int = Field(16, ge=1, le=256)
    max_tokens: int = Field(2048, ge=1)


def view(config: Config, model: Any, tokenizer: Any, prompt: Prompt) -> Document:
    """One row for each layer (0: the embeddings) and position: the ``top`` tokens, ``entropy`` (nats), ``kl`` from the
    model's prediction to this one (nats), and probability and rank of the token that the model finally finds most probable.

    Raises:
        InputError: for a position that the text hasn't, or a text longer than ``max_tokens``.
    """
    import torch

    from components.inspect._anatomy import dissect, run, tensor, watching
    from components.inspect._text import listed, pieces

    anatomy = dissect(model)
    ids = prompt.ids
    if len(ids) > config.max_tokens:
        raise InputError(f"the text has {len(ids)} tokens, more than max_tokens={config.max_tokens}; shorten it or raise that")
    positions, notes = _positions(config, len(ids))
    place = torch.tensor(positions, device=model.device)
    streams: dict[int, Any] = {}

    def take(layer: int, inputs: Any, output: Any) -> None:
        if layer == 0:
            streams[0] = inputs[0, place]
        streams[layer + 1] = (output[0] if isinstance(output, tuple) else output)[0, place]

    with watching(dict(enumerate(anatomy.layers)), take):
        final = run(model, ids, len(ids) - min(positions))[place - min(positions)]
    best, target = final.argmax(-1), final.log_softmax(-1)
    piece = pieces(tokenizer)
    columns: dict[str, list[Any]] = {"layer": [], "position": []}
    logits = final
    for layer, stream in sorted(streams.items()):
        logits = anatomy.logits(stream)
        for name, values in _reading(logits, target, best, config.top).items():
            columns.setdefault(name, []).extend(listed(values) if values.is_floating_point() else values.tolist())
        columns["layer"] += [layer] * len(positions)
        columns["position"] += positions
    columns["top_text"] = [[piece(i) for i in row] for row in columns["top_ids"]]
    difference = float(tensor(logits - final).abs().max())
    if difference > 1e-2 * max(1.0, float(final.abs().max())):
        notes += (f"the last layer's logits differ from the model's by up to {difference:.2g}: this architecture ends otherwise",)
    facts = {
        "layers": len(anatomy.layers),
        "read": {"position": positions, "id": [ids[i] for i in positions], "text": [piece(ids[i]) for i in positions]},
        "actual_next": [piece(ids[i + 1]) if i + 1 < len(ids) else None for i in positions],
        "predicted": [piece(i) for i in best.tolist()],
        "last_layer_difference": difference,
    }
    return Document("logit_lens", config.model_dump(mode="json"), facts, columns, notes)


def _positions(config: Config, count: int) -> tuple[list[int], tuple[str, ...]]:
    """Positions from the text's start, and what was left out."""
    if config.positions is None:
        left = max(0, count - config.last)
        note = f"the lens looks at the last {config.last} of {count} tokens; last=… or positions=[…] chooses others"
        return list(range(left, count)), (note,) if left else ()
    if wrong := [i for i in config.positions if not -count <= i < count]:
        raise InputError(f"there is no position {wrong[0]}; the text has tokens 0 to {count - 1}")
    return sorted({i % count for i in config.positions}), ()


def _reading(logits: Any, target: Any, best: Any, top: int) -> dict[str, Any]:
    """What one layer says: tensors of shape [positions] or [positions, top]."""
    scores = logits.log_softmax(-1)
    found = scores.topk(min(top, scores.shape[-1]))
    chosen = scores.gather(-1, best[:, None])
    return {
        "top_ids": found.indices,
        "top_probability": found.values.exp(),
        "entropy": -(scores.exp() * scores).nansum(-1),
        "kl": (target.exp() * (target - scores)).nansum(-1).clamp(min=0),
        "final_probability": chosen[:, 0].exp(),
        "final_rank": (scores > chosen).sum(-1) + 1,
    }


def show(document: Document, width: int) -> Iterator[RenderableType]:
    """Layers as lines, tokens that predict as columns, each cell the most probable token, lighter the surer."""
    from components.inspect._text import shade, table, visible

    facts, rows = document.facts, list(document.rows)
    read = [f"{i}:{visible(t)[:7]}" for i, t in zip(facts["read"]["position"], facts["read"]["text"], strict=True)]
    fits = max(1, (width - 7) // 11)
    for first in range(0, len(read), fits):
        names = read[first : first + fits]
        body = []
        for start in reversed(range(0, len(rows), len(read))):
            line = rows[start + first : start + first + len(names)]
            cells = [shade(r["top_probability"][0], 1.0, f"{visible(r['top_text'][0])[:9]:<9}") for r in line]
            body.append([str(line[0]["layer"] or "emb."), *cells])
        title = "Logit lens: most probable next token after each layer (lighter: surer)" if not first else "…"
        yield table(title, ["layer", *names], body, names[:-1])
    yield f"the last layer is the model's own prediction: logits differ by {facts['last_layer_difference']:.1e} at most"
