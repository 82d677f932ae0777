"""Graphs in Graphviz's language: every label is escaped, so that a name can't become markup."""

from __future__ import annotations

import streamlit as st

from components.lineage import Lineage, Node

_SHAPES = {"data": "cylinder", "recipe": "note", "version": "box", "alias": "tab", "evaluation": "box", "stage": "box"}
_LIGHT = {
    "text": "#17211f",
    "line": "#8a9694",
    "stage": "#eef3f2",
    "evaluation": "#ffffff",
    "data": "#fdeee4",
    "version": "#0f766e",
}
_DARK = {"text": "#e7eeec", "line": "#6d7a77", "stage": "#1d2826", "evaluation": "#0f1615", "data": "#3a281d", "version": "#14998d"}


def quoted(text: str) -> str:
    """A text as a quoted string of Graphviz's language: no escapes, no HTML-like labels, no line of its own."""
    plain = " ".join(str(text).split())
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dot(lineage: Lineage, dark: bool) -> str:
    """A lineage from top to bottom."""
    colours = _DARK if dark else _LIGHT
    head = (
        'digraph { bgcolor="transparent" rankdir=TB nodesep=0.25 ranksep=0.35 '
        f'node [fontname="sans-serif" fontsize=11 style="filled,rounded" penwidth=1 color="{colours["line"]}" '
        f'fontcolor="{colours["text"]}" margin="0.14,0.07"] edge [color="{colours["line"]}" arrowsize=0.6 penwidth=1]'
    )
    nodes = [_node(node, colours) for node in lineage.nodes]
    edges = [f"{quoted(edge.source)} -> {quoted(edge.target)}" for edge in lineage.edges]
    return "\n".join([head, *nodes, *edges, "}"])


def draw(lineage: Lineage) -> None:
    """Draws a lineage in the page's colours."""
    dark = getattr(st.context.theme, "type", "light") == "dark"
    st.graphviz_chart(dot(lineage, dark), width="content")


def _node(node: Node, colours: dict[str, str]) -> str:
    strong = node.kind in ("version", "alias")
    fill = colours["version"] if strong else colours.get(node.kind, colours["stage"])
    font = ' fontcolor="#ffffff"' if strong else ""
    style = ' style="filled,rounded,dashed"' if node.kind == "evaluation" else ' style="filled"' if node.kind == "data" else ""
    lines = "\\n".join(quoted(line)[1:-1] for line in (node.label, *node.details))
    shape = _SHAPES.get(node.kind, "box")
    return f'{quoted(node.id)} [label="{lines}" shape={shape} fillcolor="{fill}"{style}{font}]'
