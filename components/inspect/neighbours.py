"""Which tokens have embeddings that point the same way (cosine similarity), and where they lie in a plane (PCA)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from components.errors import InputError
from components.inspection import Document, Prompt, ViewConfig

if TYPE_CHECKING:
    from rich.console import RenderableType

_CHUNK = 16384


class Config(ViewConfig):
    """Settings of the neighbours view.

    Attributes:
        tokens: words whose tokens are looked up; with none the prompt's.
        ids: more tokens, by id.
        top: neighbours of each.
        matrix: ``input`` embeddings or the ``output`` layer's rows.
        max_tokens: more are left out.
    """

    needs_prompt: ClassVar[bool] = False
    method: Literal["neighbours"] = "neighbours"
    tokens: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    top: int = Field(8, ge=1, le=50)
    matrix: Literal["input", "output"] = "input"
    max_tokens: int = Field(32, ge=1, le=256)


def view(config: Config, model: Any, tokenizer: Any, prompt: Prompt | None) -> Document:
    """One row a token: ``id, text, asked`` (or a neighbour of one asked for), ``norm``, its place ``x, y`` in the plane of
    the first two principal components of all rows, and for the asked ones ``neighbour_ids``, ``neighbour_text``, ``cosine``.

    ``facts.explained`` is the share of the rows' variance that x and y hold.

    Raises:
        InputError: if no token is asked for, or one isn't in the matrix.
    """
    import torch

    from components.inspect._anatomy import dissect
    from components.inspect._text import listed, pieces

    anatomy = dissect(model)
    weight = (anatomy.embedding if config.matrix == "input" else anatomy.head).weight
    asked, notes = _asked(config, tokenizer, prompt, len(weight))
    places = torch.tensor(asked, device=weight.device)
    cosine, nearest = _nearest(weight, places, min(config.top, len(weight) - 1))
    chosen = list(dict.fromkeys([*asked, *nearest.flatten().tolist()]))
    vectors = weight[torch.tensor(chosen, device=weight.device)].float()
    plane, explained = _plane(vectors)
    piece = pieces(tokenizer)
    fill = [None] * (len(chosen) - len(asked))
    columns = {
        "id": chosen,
        "text": [piece(i) for i in chosen],
        "asked": [place < len(asked) for place in range(len(chosen))],
        "norm": listed(vectors.norm(dim=-1)),
        "x": listed(plane[:, 0]),
        "y": listed(plane[:, 1]),
        "neighbour_ids": [*nearest.tolist(), *fill],
        "neighbour_text": [*([piece(i) for i in row] for row in nearest.tolist()), *fill],
        "cosine": [*listed(cosine), *fill],
    }
    tied = anatomy.embedding.weight is anatomy.head.weight
    facts = {"vocabulary": len(weight), "width": weight.shape[1], "explained": listed(explained), "tied": tied}
    return Document("neighbours", config.model_dump(mode="json"), facts, columns, notes)


def _asked(config: Config, tokenizer: Any, prompt: Prompt | None, count: int) -> tuple[list[int], tuple[str, ...]]:
    ids = [*config.ids]
    for word in config.tokens:
        ids += tokenizer(word, add_special_tokens=False)["input_ids"]
    if not ids and prompt is not None:
        ids = list(prompt.ids)
    ids = list(dict.fromkeys(ids))
    if not ids:
        raise InputError("neighbours of which tokens? add tokens=[word,…], ids=[…] or --prompt TEXT")
    if wrong := [i for i in ids if not 0 <= i < count]:
        raise InputError(f"there is no token {wrong[0]}; the model has ids 0 to {count - 1}")
    if len(ids) <= config.max_tokens:
        return ids, ()
    return ids[: config.max_tokens], (
        f"the first {config.max_tokens} of {len(ids)} different tokens; max_tokens={len(ids)} shows all",
    )


def _nearest(weight: Any, places: Any, top: int) -> tuple[Any, Any]:
    """(cosine, ids) of the nearest rows of each place, itself left out; the vocabulary is read in chunks."""
    import torch
    from torch.nn.functional import normalize

    wanted = normalize(weight[places].float(), dim=-1)
    scores, ids = [], []
    for start in range(0, len(weight), _CHUNK):
        chunk = wanted @ normalize(weight[start : start + _CHUNK].float(), dim=-1).T
        inside = (places >= start) & (places < start + chunk.shape[1])
        chunk[inside.nonzero()[:, 0], places[inside] - start] = -torch.inf
        best = chunk.topk(min(top, chunk.shape[1]))
        scores.append(best.values)
        ids.append(best.indices + start)
    best = torch.cat(scores, -1).topk(top)
    return best.values, torch.cat(ids, -1).gather(-1, best.indices)


def _plane(vectors: Any) -> tuple[Any, Any]:
    """Coordinates in the first two principal components, shape [rows, 2], and the share of variance each holds.

    Signs are free: the largest coordinate of each component is made positive, so that equal rows give equal pictures.
    """
    import torch

    centred = vectors - vectors.mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    u, s = torch.nn.functional.pad(u, (0, 2))[:, :2], torch.nn.functional.pad(s, (0, 2))
    signs = u.gather(0, u.abs().argmax(0, keepdim=True)).sign()
    return u * s[:2] * signs, s[:2] ** 2 / (s**2).sum().clamp(min=1e-30)


def show(document: Document, width: int) -> Iterator[RenderableType]:
    """The nearest tokens of each."""
    from components.inspect._text import table, visible

    def nearest(row: dict[str, Any]) -> str:
        return "  ".join(f"{visible(t)} {c:.2f}" for t, c in zip(row["neighbour_text"], row["cosine"], strict=True))

    asked = [row for row in document.rows if row["asked"]]
    body = [(r["id"], visible(r["text"]), r["norm"], r["x"], r["y"], nearest(r)) for r in asked]
    facts, names = document.facts, ("id", "token", "norm", "x", "y", "nearest by cosine")
    yield table(f"Nearest {document.settings['matrix']} embeddings among {facts['vocabulary']}", names, body, ("token", names[-1]))
    yield f"x and y hold {sum(facts['explained']):.0%} of the variance of these tokens and their neighbours"
