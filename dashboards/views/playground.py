"""One model, a grid of prompts, temperatures and top-p: all answers and their scores side by side.

``/playground?model=…&t=0,0.7&p=0.9,1&n=2&grid=<id>``: ``grid`` finds a run again that this dashboard still remembers.
"""

from __future__ import annotations

import secrets

import streamlit as st

from components.errors import LapidarError
from components.inference.client import Ask, Stream
from components.inference.sweeping import Sweep
from components.sweep import Cell, Grid, numbers
from dashboards import access
from dashboards.talk import gridview, panel, server
from dashboards.ui import page_state, safe
from dashboards.ui.text import t

_EVERY = 0.5
_KEPT = 20


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_playground"))
    access.require("reviewer")
    cards, error = server.offered()
    sweep = _sweeps().get(page_state.get("grid"))
    if error is not None or not cards:
        server.tell(error)
    else:
        with st.expander(t("playground.setup"), expanded=sweep is None, icon=":material/tune:"):
            _setup(panel.model("playground", "model", cards, page_state.get("model")), busy=_busy(sweep))
    if sweep is not None:
        _running(page_state.get("grid")) if _busy(sweep) else gridview.draw(sweep.grid, sweep.look().outcomes)
    elif page_state.get("grid"):
        st.info(t("playground.forgotten"), icon=":material/history_toggle_off:")


def _setup(model: str, busy: bool) -> None:
    """What to ask; the button begins."""
    prompts = st.text_area(t("playground.prompts"), key="playground.prompts", height=140, help=t("playground.prompts_help"))
    left, middle, right = st.columns(3)
    ts = left.text_input(
        t("talk.set_temperature"), page_state.get("t", "0, 0.7, 1.2"), key="playground.t", help=t("playground.axis_help")
    )
    ps = middle.text_input(t("talk.set_top_p"), page_state.get("p", "0.9, 1"), key="playground.p", help=t("playground.axis_help"))
    n = int(
        right.number_input(
            t("talk.set_samples"), 1, 16, page_state.get_int("n", 1, 1, 16), key="playground.n", help=t("playground.n_help")
        )
    )
    left, right = st.columns(2)
    answers = left.text_area(t("playground.answers"), key="playground.answers", height=90, help=t("playground.answers_help"))
    system = right.text_area(t("talk.system"), key="playground.system", height=90)
    left, right = st.columns(2)
    longest = int(
        left.number_input(t("talk.set_max_tokens"), 1, 4096, 128, 16, key="playground.max_tokens", help=t("talk.about_max_tokens"))
    )
    seed = right.number_input(t("talk.set_seed"), 0, 2**32 - 1, None, 1, key="playground.seed", help=t("talk.about_seed"))
    try:
        grid = Grid(split(prompts), numbers(ts), numbers(ps), n, tuple(answers.split("\n")) if answers.strip() else ())
        said = t("playground.size", n=len(grid.cells))
    except LapidarError as error:
        grid, said = None, "" if not prompts.strip() else safe.plain(error, 300)
    with st.container(horizontal=True, vertical_alignment="center"):
        begin = st.button(
            t("playground.run"),
            key="playground.run",
            type="primary",
            icon=":material/play_arrow:",
            disabled=grid is None or not model or busy,
        )
        st.caption(said)
    if begin and grid is not None:
        page_state.put(model=model, t=ts, p=ps, n=n, grid=_begin(grid, model, system, longest, None if seed is None else int(seed)))
        st.rerun()


def split(text: str) -> tuple[str, ...]:
    r"""Prompts of a text: a line of three dashes or more stands between them.

    >>> split("one\nmore\n---\ntwo\n")
    ('one\nmore', 'two')
    """
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if len(line.strip()) > 2 and not line.strip().strip("-"):
            found.append([])
        else:
            found[-1].append(line)
    return tuple(prompt for lines in found if (prompt := "\n".join(lines).strip()))


def _begin(grid: Grid, model: str, system: str, longest: int, seed: int | None) -> str:
    """Starts a sweep under a new name, by which the address finds it."""
    client = server.client()

    def source(cell: Cell) -> Stream:
        head = ({"role": "system", "content": system},) if system.strip() else ()
        messages = (*head, {"role": "user", "content": grid.prompts[cell.prompt]})
        number = None if seed is None else seed + cell.sample
        return client.stream(
            Ask(model, messages, longest, cell.temperature, cell.top_p, seed=number, logprobs=0, context="drop_oldest")
        )

    name, known = secrets.token_urlsafe(12), _sweeps()
    known[name] = Sweep(grid, source)
    for old in [key for key, sweep in known.items() if not _busy(sweep)][: max(0, len(known) - _KEPT)]:
        del known[old]
    return name


@st.cache_resource
def _sweeps() -> dict[str, Sweep]:
    """The grids of this process; a page that is reloaded finds its own by the address."""
    return {}


def _busy(sweep: Sweep | None) -> bool:
    return sweep is not None and not sweep.look().done


@access.live(_EVERY)
def _running(name: str) -> None:
    """A grid on its way, drawn anew while it grows."""
    sweep = _sweeps().get(name)
    if sweep is None or (now := sweep.look()).done:
        st.rerun()
    whole, have = len(sweep.grid.cells), len(now.outcomes)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(have / whole, text=t("playground.progress", n=have, of=whole))
        if st.button(t("chat.stop"), key="playground.stop", icon=":material/stop_circle:", shortcut="Esc"):
            sweep.stop()
    gridview.matrix(sweep.grid, now.outcomes, names=())
