"""How each view of a model is drawn: attention, logit lens, tokens, embeddings in a plane, norms, RoPE, experts.

A function draws one document of ``components.inspection`` and gives the rows of the table below it, in words of the reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import streamlit as st

from components.inference.reading import Alternative, Token
from components.inspection import Document
from dashboards.parts import documents
from dashboards.talk import tokens as spoken
from dashboards.ui import charts, figures, numbers, safe
from dashboards.ui.text import t

Row = dict[str, Any]
_NAMED = 2
"""Neighbours of a token that are named in the picture; the others are named where one points at them."""


def draw(document: Document, model: str) -> None:
    """The picture of a document, its notes, and its table."""
    rows = _DRAWN[document.view](document)
    documents.notes(document)
    documents.table(document, f"{document.view}-{model}", rows)


def _attention(document: Document) -> list[Row]:
    """One head's map, and every head's summary."""
    rows = list(document.rows)
    with st.container(horizontal=True):
        layer = st.selectbox(t("inside.layer"), sorted({row["layer"] for row in rows}), key="inside-layer", width=160)
        head = st.selectbox(t("inside.head"), sorted({row["head"] for row in rows}), key="inside-head", width=160)
    chosen = next(row["map"] for row in rows if (row["layer"], row["head"]) == (layer, head))
    names = _named(document.facts["tokens"])
    if chosen is None:
        st.caption(t("inside.no_map"))
    else:
        cells = [{"to": names[k], "from": names[q], "weight": w} for q, line in enumerate(chosen) for k, w in enumerate(line)]
        documents.heat(cells, "to", "from", "weight", t("inside.weight"), "inside-map", 120 + 18 * len(names))
    st.markdown(f"##### {t('inside.heads')}")
    summary = [{"head": str(row["head"]), "layer": str(row["layer"]), "entropy": row["entropy"]} for row in rows]
    documents.heat(summary, "head", "layer", "entropy", t("inside.entropy"), "inside-entropy", 90 + 30 * document.facts["layers"])
    return [
        {
            t("inside.layer"): row["layer"],
            t("inside.head"): row["head"],
            t("inside.entropy"): round(row["entropy"], 3),
            t("inside.distance"): round(row["distance"], 2),
            **{t(f"inside.{name}"): numbers.share(row[name]) for name in ("self", "previous", "sink")},
        }
        for row in rows
    ]


def _logit_lens(document: Document) -> list[Row]:
    """What each layer would say next, the surer the darker; the last row is what the model says."""
    read, last = document.facts["read"], document.facts["layers"]
    names = dict(zip(read["position"], _named(read["text"], read["position"]), strict=True))
    rows = list(document.rows)
    cells = [
        {
            "token": names[row["position"]],
            "layer": str(row["layer"]),
            "probability": row["top_probability"][0],
            "says": _shown(row["top_text"][0]),
        }
        for row in rows
    ]
    height = 100 + 30 * (last + 1)
    documents.heat(cells, "token", "layer", "probability", t("inside.probability"), "inside-lens", height, text="says")
    return [
        {
            t("inside.layer"): row["layer"],
            t("inside.token"): names[row["position"]],
            t("inside.says"): _listed(row["top_text"], row["top_probability"]),
            t("inside.entropy_of"): round(row["entropy"], 3),
            t("inside.kl"): round(row["kl"], 3),
            t("inside.final_rank"): row["final_rank"],
        }
        for row in rows
    ]


def _tokens(document: Document) -> list[Row]:
    """The text, the less expected the stronger its ground."""
    rows, facts = list(document.rows), document.facts
    left, middle, right = st.columns(3)
    left.metric(t("inside.perplexity"), numbers.number(facts["perplexity"]), border=True)
    middle.metric(t("inside.surprisal_mean"), numbers.number(facts["surprisal"]), border=True)
    right.metric(t("inside.scored"), numbers.number(facts["scored"]), border=True)
    with st.container(border=True):
        spoken.draw([_token(row) for row in rows], "inside-tokens")
    follows = facts.get("next") or {}
    if follows.get("top_text"):
        st.markdown(f"**{t('inside.next')}** {safe.plain(_listed(follows['top_text'], follows['top_probability']))}")
    return [
        {
            t("inside.position"): row["position"],
            t("inside.token"): _shown(row["text"]),
            t("inside.probability"): numbers.share(row["probability"]),
            t("inside.surprisal"): numbers.number(row["surprisal"]),
            t("inside.rank"): numbers.number(row["rank"]),
            t("inside.instead"): _listed(row["top_text"] or [], row["top_probability"] or []),
        }
        for row in rows
    ]


def _token(row: Row) -> Token:
    """A token as the chat shows it; the first one was predicted from nothing and counts as certain."""
    others = zip(row["top_text"] or [], row["top_probability"] or [], strict=True)
    seen = tuple(Alternative(text, math.log(max(p, 1e-12))) for text, p in others)
    return Token(0, row["text"], 0.0 if row["probability"] is None else math.log(max(row["probability"], 1e-12)), seen)


def _neighbours(document: Document) -> list[Row]:
    """The prompt's tokens and their neighbours in the plane of the first two principal components."""
    rows, explained = list(document.rows), document.facts["explained"]
    groups = {True: t("inside.asked"), False: t("inside.neighbour")}
    near = {name for row in rows if row["asked"] for name in row["neighbour_ids"][:_NAMED]}
    points = [
        {"x": row["x"], "y": row["y"], "token": _shown(row["text"]), "group": groups[row["asked"]], "named": row["id"] in near}
        for row in rows
    ]
    titles = tuple(t("inside.component", number=i + 1, share=numbers.share(part)) for i, part in enumerate(explained))
    chart = charts.plane(points, "x", "y", "token", "group", list(groups.values()), (titles[0], titles[1]))
    charts.draw(chart, height=460, key="inside-plane", alt_text=t("inside.at_neighbours"))
    whole = {"share": numbers.share(sum(explained)), "n": len(rows), "width": document.facts["width"]}
    st.caption(t("inside.explained", **whole))
    return [
        {
            t("inside.token"): _shown(row["text"]),
            "id": row["id"],
            t("inside.norm"): round(row["norm"], 3),
            t("inside.nearest"): "  ".join(
                f"{_shown(text)} {numbers.figure(cosine, '.2f')}"
                for text, cosine in zip(row["neighbour_text"], row["cosine"], strict=True)
            ),
        }
        for row in rows
        if row["asked"]
    ]


def _norms(document: Document) -> list[Row]:
    """The hidden state's length, token by token and layer by layer, and what attention and MLP add on average."""
    names, rows = _named(document.facts["tokens"]), list(document.rows)
    cells = [
        {"token": names[i], "layer": str(row["layer"]), "norm": value} for row in rows for i, value in enumerate(row["hidden"])
    ]
    documents.heat(cells, "token", "layer", "norm", t("inside.norm"), "inside-norms", 100 + 30 * len(rows))
    parts = ("hidden", "attention", "mlp")
    st.markdown(f"##### {t('inside.mean_norms')}")
    lines = []
    for part in parts:
        known = [row for row in rows if row[part]]
        lines.append(figures.Line(t(f"inside.of_{part}"), [row["layer"] for row in known], [fmean(row[part]) for row in known]))
    titles = (t("inside.layer"), t("inside.norm"))
    figures.lines(lines, [line.name for line in lines], titles, height=260, key="inside-parts", alt=t("inside.mean_norms"))
    return [
        {
            t("inside.layer"): row["layer"],
            **{t(f"inside.of_{part}"): numbers.number(fmean(row[part]) if row[part] else None) for part in parts},
        }
        for row in rows
    ]


def _rope(document: Document) -> list[Row]:
    """Frequencies of each pair of dimensions, as the model has them and stretched."""
    scalings, rows = ["model", *(name for name in document.settings["scalings"] if name != "default")], list(document.rows)
    lines = []
    for name in scalings:
        known = [row for row in rows if row.get(name)]
        lines.append(figures.Line(name, [row["pair"] for row in known], [row[name] for row in known]))
    titles = (t("inside.pair"), t("inside.frequency"))
    figures.lines(lines, scalings, titles, height=340, key="inside-rope", alt=t("inside.at_rope"), log=True)
    facts = document.facts
    st.caption(
        t(
            "inside.stretched",
            theta=numbers.number(facts["theta"]),
            trained=numbers.number(facts["trained_context"]),
            length=numbers.number(facts["length"]),
        )
    )
    return [
        {
            t("inside.pair"): row["pair"],
            t("inside.wavelength"): numbers.number(row["wavelength"]),
            t("inside.turns"): numbers.number(row["turns"]),
            **{name: numbers.number(row[name]) for name in scalings},
        }
        for row in rows
    ]


def _experts(document: Document) -> list[Row]:
    """How much of the tokens each expert gets, and which experts a layer sends each token to."""
    names, rows = _named(document.facts["tokens"]), list(document.rows)
    load = [{"expert": str(i), "layer": str(row["layer"]), "load": part} for row in rows for i, part in enumerate(row["load"])]
    documents.heat(load, "expert", "layer", "load", t("inside.load"), "inside-load", 100 + 30 * len(rows))
    layers = [row["layer"] for row in rows]
    layer = st.selectbox(t("inside.layer"), layers, key="inside-routed", width=160)
    chosen = rows[layers.index(layer)]
    routed = [
        {"token": names[i], "expert": str(expert), "weight": weight}
        for i, (experts, weights) in enumerate(zip(chosen["experts"], chosen["weights"], strict=True))
        for expert, weight in zip(experts, weights, strict=True)
    ]
    height = 120 + 18 * document.facts["experts"]
    documents.heat(routed, "token", "expert", "weight", t("inside.weight"), "inside-routed-map", height)
    return [
        {
            t("inside.layer"): row["layer"],
            t("inside.balance"): numbers.share(row["load_entropy"]),
            t("inside.busiest"): f"{numbers.figure(row['busiest'], '.2f')} ×",
            t("inside.unused"): row["unused"],
            t("inside.dropped"): numbers.share(row["dropped"]),
            t("inside.router_entropy"): round(row["router_entropy"], 3),
        }
        for row in rows
    ]


def _named(tokens: Sequence[str], positions: Sequence[int] | None = None) -> list[str]:
    """Tokens with their places, so that the same token at two places is two."""
    return [f"{i} {_shown(token)}" for i, token in zip(positions or range(len(tokens)), tokens, strict=True)]


def _shown(token: str) -> str:
    """A token by itself, with its spaces and line breaks to be seen."""
    return safe.visible(token.replace("\n", "⏎").replace("\t", "⇥")).replace(" ", "␣") or "∅"


def _listed(texts: Sequence[str], shares: Sequence[float]) -> str:
    return "  ".join(f"{_shown(text)} {numbers.share(share)}" for text, share in zip(texts, shares, strict=True))


_DRAWN: dict[str, Callable[[Document], list[Row]]] = {
    "attention": _attention,
    "logit_lens": _logit_lens,
    "tokens": _tokens,
    "neighbours": _neighbours,
    "norms": _norms,
    "rope": _rope,
    "experts": _experts,
}
