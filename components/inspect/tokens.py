"""How probable each token of a text is to the model, and what it would rather have said.

Surprisal is -ln p, entropy that of the distribution which predicted the token, both in nats; rank 1 is the most probable.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.inspection import Document, Prompt, ViewConfig

if TYPE_CHECKING:
    from rich.console import RenderableType


class Config(ViewConfig):
    """Settings of the token view.

    Attributes:
        top: alternatives shown for each token.
        max_tokens: longer texts are cut.
    """

    method: Literal["tokens"] = "tokens"
    top: int = Field(5, ge=1, le=50)
    max_tokens: int = Field(512, ge=1, le=4096)


def view(config: Config, model: Any, tokenizer: Any, prompt: Prompt) -> Document:
    """One row a token: ``position, id, text, answer`` (whether it belongs to the answer), ``probability, surprisal, rank,
    entropy`` and the ``top`` alternatives. The first token is predicted from nothing and has none of these.

    ``facts`` holds mean surprisal and perplexity of the answer (of the whole text where there is none), and what would follow.
    """
    import torch

    from components.inspect._anatomy import run
    from components.inspect._text import cut, listed, pieces

    piece = pieces(tokenizer)
    ids, notes = cut(prompt.ids, config.max_tokens, "probabilities")
    scores = run(model, ids, len(ids)).log_softmax(-1)
    top = scores.topk(min(config.top, scores.shape[-1]))
    entropy = -(scores.exp() * scores).nansum(-1)
    targets = torch.tensor(ids[1:], device=scores.device)[:, None]
    chosen = scores[:-1].gather(-1, targets)
    rank = (scores[:-1] > chosen).sum(-1) + 1
    from_ = min(prompt.answer_from, len(ids))
    scored = chosen[max(from_, 1) - 1 :, 0] if from_ < len(ids) else chosen[:, 0]
    loss = float(-scored.mean()) if len(scored) else None
    alternatives = {
        "top_ids": top.indices.tolist(),
        "top_text": [[piece(i) for i in row] for row in top.indices.tolist()],
        "top_probability": listed(top.values.exp()),
    }
    columns: dict[str, list[Any]] = {
        "position": list(range(len(ids))),
        "id": list(ids),
        "text": [piece(i) for i in ids],
        "answer": [position >= from_ for position in range(len(ids))],
        "probability": [None, *listed(chosen[:, 0].exp())],
        "surprisal": [None, *listed(-chosen[:, 0])],
        "rank": [None, *rank.tolist()],
        "entropy": [None, *listed(entropy[:-1])],
        **{name: [None, *rows[:-1]] for name, rows in alternatives.items()},
    }
    facts = {
        "tokens": len(ids),
        "answer_from": from_,
        "scored": len(scored),
        "surprisal": loss,
        "perplexity": None if loss is None else float(torch.tensor(loss).exp()),
        "next": {name: rows[-1] for name, rows in alternatives.items()} | {"entropy": float(entropy[-1])},
    }
    return Document("tokens", config.model_dump(), facts, columns, notes)


def show(document: Document, width: int) -> Iterator[RenderableType]:
    """A table of tokens with bars; then what would follow."""
    from components.inspect._text import bar, table, visible

    def named(texts: list[str] | None, probabilities: list[float] | None) -> str:
        return "  ".join(f"{visible(t)} {p:.2f}" for t, p in zip(texts or [], probabilities or [], strict=True))

    rows = [
        (
            row["position"],
            ("› " if row["answer"] else "") + visible(row["text"]),
            row["probability"],
            bar(row["probability"]),
            row["rank"],
            row["surprisal"],
            row["entropy"],
            named(row["top_text"], row["top_probability"]),
        )
        for row in document.rows
    ]
    names = ("#", "token", "p", "", "rank", "surprisal", "entropy", "most probable instead")
    yield table("How probable each token is (› answer; surprisal and entropy in nats)", names, rows, ("token", "", names[-1]))
    facts = document.facts
    if facts["surprisal"] is not None:
        yield f"{facts['scored']} tokens scored: {facts['surprisal']:.3f} nats a token, perplexity {facts['perplexity']:.2f}"
    yield f"next: {named(facts['next']['top_text'], facts['next']['top_probability'])}"
