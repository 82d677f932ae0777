"""Blind votes: two models' answers to one prompt, both at once, in the same form; the names come after the vote.

``/arena?models=models:/a/1,models:/b/2&show=ranking``; ``prompt`` is the number of a prompt that the reader wrote.
"""

from __future__ import annotations

import time
from functools import partial

import streamlit as st

from components.errors import InputError, LapidarError
from components.inference.reading import ModelCard
from components.reviews import arena
from components.settings import Settings
from dashboards import access, ui
from dashboards.talk import acting, matching, server, standings
from dashboards.ui import page_state, safe, states
from dashboards.ui.text import t

_KEYS: dict[arena.Choice, str] = {"a": "A", "b": "B", "tie": "T", "both_bad": "X"}
_DONE = "arena.done"


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_arena"))
    settings, reader = ui.settings(), access.require("reviewer").name
    acting.told()
    words = {name: t(f"arena.show_{name}") for name in ("vote", "ranking")}
    show = st.segmented_control(
        t("arena.show"), list(words), default=page_state.get("show", "vote", words), format_func=words.__getitem__, required=True,
        key="arena.show", label_visibility="collapsed",
    )  # fmt: skip
    page_state.put(show=show if show != "vote" else None)
    if show == "ranking":
        standings.draw(settings)
        return
    if done := st.session_state.get(_DONE):
        _revealed(settings, reader, done)
        return
    cards, error = server.offered()
    if error is not None or not cards:
        server.tell(error)
        st.stop()
    with st.expander(t("arena.setup"), expanded=len(page_state.get_list("models")) < 2, icon=":material/tune:"):
        models, terms = _setup(cards)
    _prompts(settings, reader)
    if len(models) < 2:
        states.empty(t("arena.two_models"), t("arena.two_models_todo"), icon=":material/swords:")
        st.stop()
    _match(settings, reader, models, terms)


def _setup(cards: list[ModelCard]) -> tuple[list[str], matching.Terms]:
    """Which versions meet, and how both are asked. Aliases are resolved: tomorrow they may mean another version."""
    options = list(dict.fromkeys(server.version_of(card.id, cards) for card in cards if card.version or "@" not in card.id))
    asked = page_state.get_list("models")
    known = list(dict.fromkeys([*options, *asked]))
    chosen = st.multiselect(
        t("arena.models"), known, default=asked or (options if len(options) == 2 else []), key="arena.models",
        accept_new_options=True, placeholder=t("arena.models_placeholder"), help=t("arena.models_help"),
    )  # fmt: skip
    models = list(dict.fromkeys(server.version_of(name.strip(), cards) for name in chosen if name.strip()))
    page_state.put(models=models)
    left, right = st.columns(2)
    longest = left.number_input(t("talk.set_max_tokens"), 1, 4096, 256, 16, key="arena.max_tokens")
    temperature = right.number_input(t("talk.set_temperature"), 0.0, 5.0, 0.7, 0.1, key="arena.temperature")
    system = st.text_area(t("talk.system"), key="arena.system", height=68)
    st.caption(t("arena.terms_about"))
    return models, matching.Terms(longest, temperature, system)


def _prompts(settings: Settings, reader: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(t("arena.waiting", n=arena.waiting(settings, reader)))
        with st.popover(t("arena.own"), icon=":material/edit:"):
            text = st.text_area(t("arena.own_text"), key="arena.own", height=100)
            st.button(
                t("arena.own_send"),
                key="arena.own.send",
                disabled=not text.strip(),
                on_click=acting.as_reader(reader)(partial(_own, settings, reader)),
            )
        with st.popover(t("arena.add"), icon=":material/playlist_add:"):
            lines = st.text_area(t("arena.add_text"), key="arena.add", height=160)
            st.button(
                t("arena.add_send"),
                key="arena.add.send",
                disabled=not lines.strip(),
                on_click=acting.as_reader(reader)(partial(_add, settings, reader)),
            )


def _own(settings: Settings, reader: str) -> None:
    found = arena.add_prompts(settings, [st.session_state["arena.own"]], reader, "free")
    st.session_state["arena.own"] = ""
    page_state.put(prompt=found[0])


def _add(settings: Settings, reader: str) -> None:
    arena.add_prompts(settings, [line for line in st.session_state["arena.add"].splitlines() if line.strip()], reader)
    st.session_state["arena.add"] = ""


def _match(settings: Settings, reader: str, models: list[str], terms: matching.Terms) -> None:
    """The reader's next match, with its answers once both are there."""
    try:
        own = page_state.get_int("prompt", 0)
        match = arena.next_match(settings, reader, models, own or None)
    except InputError as error:
        page_state.put(prompt=None)
        st.warning(safe.plain(error, 400))
        return
    if match is None:
        states.empty(t("arena.no_prompts"), t("arena.no_prompts_todo"), icon=":material/done_all:")
    elif match.ready:
        _vote(settings, reader, match)
    elif (why := matching.failed(settings, match.id)) is not None:
        _shown_prompt(match.prompt)
        st.error(t("arena.failed", why=safe.plain(why, 400)), icon=":material/error:")
        st.button(t("arena.again"), key="arena.again", icon=":material/refresh:", on_click=partial(matching.forget, match.id))
    else:
        _shown_prompt(match.prompt)
        try:
            matching.begin(settings, match.id, terms)
        except LapidarError as error:
            server.tell(error)
            return
        _answering(match.id)


@access.live(0.3)
def _answering(match: str) -> None:
    """Waits until both have answered; nothing tells which is quicker."""
    if not matching.waiting(match):
        st.rerun()
    st.info(t("arena.answering"), icon=":material/hourglass_top:")


def _shown_prompt(prompt: str) -> None:
    with st.chat_message("user", avatar=":material/person:"):
        safe.text(prompt)


def _vote(settings: Settings, reader: str, match: arena.Match) -> None:
    appeared = st.session_state.setdefault(f"arena.seen.{match.id}", time.time())
    _shown_prompt(match.prompt)
    _answers(match.a, match.b)

    @acting.as_reader(reader)
    def vote(choice: arena.Choice) -> None:
        st.session_state[_DONE] = match.id  # first: who voted in another tab sees that vote
        arena.vote(settings, match.id, choice, reader, max(0.0, time.time() - appeared))
        page_state.put(prompt=None)

    for column, (choice, key) in zip(st.columns(len(_KEYS)), _KEYS.items(), strict=True):
        column.button(
            t(f"arena.choice_{choice}"), key=f"arena.vote.{choice}", shortcut=key, width="stretch", on_click=partial(vote, choice)
        )
    st.caption(t("arena.blind"))


def _answers(a: str | None, b: str | None, names: tuple[str, str] | None = None) -> None:
    """Both answers in the same form: plain text in boxes of equal height."""
    for place, (column, text) in enumerate(zip(st.columns(2), (a, b), strict=True)):
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{'AB'[place]}**" + (f" · {safe.plain(names[place])}" if names else ""))
            if text and text.strip():
                safe.text(text)
            else:
                st.caption(t("arena.said_nothing"))


def _revealed(settings: Settings, reader: str, match: str) -> None:
    """Who was who, after the vote."""
    try:
        found = arena.revealed(settings, match, reader)
        sides = arena.models_of(settings, match)
    except InputError:
        st.session_state.pop(_DONE, None)
        st.rerun()
    _shown_prompt(sides.prompt)
    _answers(sides.answered.get("a"), sides.answered.get("b"), (found.a, found.b))
    winner = {"a": found.a, "b": found.b}.get(found.choice)
    said = t("arena.voted_for", name=safe.plain(winner)) if winner else t(f"arena.voted_{found.choice}")
    st.success(said, icon=":material/how_to_vote:")
    with st.container(horizontal=True):
        st.button(
            t("arena.next"), key="arena.next", type="primary", shortcut="N", icon=":material/arrow_forward:",
            on_click=lambda: st.session_state.pop(_DONE, None),
        )  # fmt: skip
        with st.popover(t("arena.change"), icon=":material/undo:", type="tertiary"):
            _change(settings, reader, match, found)


def _change(settings: Settings, reader: str, match: str, found: arena.Revealed) -> None:
    """Another vote instead, with a reason that stays beside it."""
    words = {choice: t(f"arena.choice_{choice}") for choice in arena.CHOICES if choice != found.choice}
    choice = st.radio(t("arena.change_to"), list(words), format_func=words.__getitem__, key="arena.change.to")
    reason = st.text_input(t("arena.change_why"), key="arena.change.why")
    if st.button(t("arena.change_send"), key="arena.change.send", disabled=not reason.strip()):
        arena.correct(settings, match, choice, reader, reason)
        st.rerun()
