"""A grid's answers and scores on the page: means by setting with intervals, then every answer in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from components.sweep import Cell, Grid, Outcome, score, scored, scorers, summary
from dashboards.ui import export, figures, numbers, safe
from dashboards.ui.text import t


def draw(grid: Grid, outcomes: Mapping[Cell, Outcome]) -> None:
    """Draws a finished grid."""
    known = any(answer.strip() for answer in grid.answers)
    words = {name: t(f"talk.rule_{name}") for name in scorers(known)}
    names = st.pills(
        t("playground.scores"), list(words), selection_mode="multi", default=next(iter(words)), format_func=words.__getitem__,
        key=f"playground.scores.{known}",
    )  # fmt: skip
    if len(outcomes) < len(grid.cells):
        st.caption(t("playground.left_out", n=len(grid.cells) - len(outcomes)))
    rows = scored(grid, outcomes, names)
    if rows and names:
        means(rows, names, words)
    matrix(grid, outcomes, names)
    if rows:
        export.download(rows, "playground")


def means(rows: Sequence[Mapping[str, Any]], names: Sequence[str], words: Mapping[str, str]) -> None:
    """One chart a score: its mean at each setting, with the interval over prompts and samples."""
    for column, name in zip(st.columns(min(2, len(names))) * len(names), names, strict=False):
        found = summary(rows, name)
        if not found:
            continue
        heat, top = t("talk.set_temperature"), t("talk.set_top_p")
        series = [f"{top} {top_p:g}" for top_p in sorted({top_p for _, top_p in found})]
        shown = [
            {"label": f"{heat} {key[0]:g}", "series": f"{top} {key[1]:g}", "value": e.value, "low": e.low, "high": e.high}
            for key, e in found.items()
        ]
        height, key = 70 + 26 * len(shown), f"playground.chart.{name}"
        with column:
            figures.intervals(shown, "label", "series", series, words[name], height=height, key=key, alt=words[name])


def matrix(grid: Grid, outcomes: Mapping[Cell, Outcome], names: Sequence[str]) -> None:
    """Every prompt with its answers: a row a temperature, a column a top-p."""
    rows = Counter((cell.prompt, cell.temperature) for cell in grid.cells)
    wide = min(4, max(rows.values(), default=1))  # the same for all rows, so that equal settings stand below each other
    for place, prompt in enumerate(grid.prompts):
        with st.chat_message("user", avatar=":material/person:"):
            safe.text(prompt)
            if answer := grid.answer(Cell(place, 0.0, 1.0)):
                st.caption(t("playground.right", answer=safe.plain(answer)))
        for temperature in dict.fromkeys(cell.temperature for cell in grid.cells):
            cells = [cell for cell in grid.cells if cell.prompt == place and cell.temperature == temperature]
            for start in range(0, len(cells), wide):
                for column, cell in zip(st.columns(wide), cells[start : start + wide], strict=False):
                    with column.container(border=True, height="stretch"):
                        _cell(grid, cell, outcomes.get(cell), names)


def _cell(grid: Grid, cell: Cell, outcome: Outcome | None, names: Sequence[str]) -> None:
    head = f"**{t('talk.set_temperature')} {cell.temperature:g}**"
    if cell.temperature > 0:
        head += f" · {t('talk.set_top_p')} {cell.top_p:g}" + (f" · #{cell.sample + 1}" if grid.samples > 1 else "")
    st.markdown(head)
    if outcome is None:
        st.caption("…")
        return
    if outcome.error:
        st.error(safe.plain(outcome.error, 300))
    if outcome.text.strip():
        safe.text(outcome.text)
    elif not outcome.error:
        st.caption(t("playground.said_nothing"))
    badges = [] if outcome.error else [_badge(name, score(name, outcome.text, grid.answer(cell))) for name in names]
    if shown := [badge for badge in badges if badge]:
        st.markdown(" ".join(shown))
    parts = [t("chat.tokens", n=outcome.tokens), numbers.duration(outcome.seconds)]
    if outcome.logprob is not None:
        parts.append(t("playground.logprob", n=numbers.figure(outcome.logprob, ".2f")))
    if outcome.finish == "length":
        parts.append(t("playground.cut"))
    st.caption(" · ".join(parts))


def _badge(name: str, value: float | None) -> str:
    """A score as a badge; its colour says what its number says."""
    if value is None:
        return ""
    colour, icon = ("green", "check") if value >= 1 else ("red", "close") if value <= 0 else ("orange", "adjust")
    return f":{colour}-badge[:material/{icon}: {numbers.figure(value, '.2g')} · {t(f'talk.rule_{name}')}]"
