"""Chat with any registered model: alone or two side by side. The conversation stands in the address, the answer in the database.

``/chat?c=<conversation>&d=<the one beside it>``; ``/chat?model=<name>`` begins with a model, ``/chat?shared=<token>`` reads only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from components.chat_settings import ChatSettings
from components.errors import InputError
from components.reviews import conversations
from components.reviews.conversations import Conversation
from components.settings import Settings
from dashboards import access, ui
from dashboards.talk import acting, asking, pane, panel, server, shelf
from dashboards.ui import page_state, safe, states
from dashboards.ui.text import t

_LAST = "chat.last"


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_chat"))
    settings, reader = ui.settings(), access.require("reviewer").name
    acting.told()
    if token := page_state.get("shared"):
        _shared(settings, token)
        return
    shown, running = _open(settings, reader)
    cards, error = server.offered()
    if nothing := error is not None or not cards:
        shelf.draw(settings, reader, shown)
        server.tell(error)
        if not shown:
            st.stop()
    scope = shown[0].id if shown else "new"
    kept = ChatSettings.kept(_before(shown))
    off = bool(running) or error is not None or not panel.begin(scope, "model", cards, kept.model)
    # Streamlit builds the page anew around its input, and what is open by then closes: so the input comes before all that opens.
    question = st.chat_input(t("chat.placeholder"), disabled=off, key=f"chat.input.{scope}")
    if not nothing:
        shelf.draw(settings, reader, shown)
    chosen, other = _choose(scope, kept, cards, shown)
    for column, conversation in zip(st.columns(max(1, len(shown)), gap="medium"), shown, strict=False):
        with column:
            mine = chosen if conversation is shown[0] else chosen.model_copy(update={"model": other})
            pane.draw(settings, conversation, mine, conversation.id in running)
    if not shown:
        st.caption(t("chat.begin"))
    if question:
        _ask(settings, reader, shown, chosen, other, question)


def _shared(settings: Settings, token: str) -> None:
    try:
        conversation = conversations.load_shared(settings, token)
    except InputError as error:
        states.broken(t("chat.shared_gone"), str(error), t("chat.shared_gone_todo"))
        return
    st.caption(t("chat.shared_by", name=safe.plain(conversation.owner), title=safe.plain(conversation.title)))
    shelf.download(conversation)
    pane.read_only(conversation)


def _open(settings: Settings, reader: str) -> tuple[list[Conversation], set[str]]:
    """The conversations that the address names, and which of them wait for an answer; what isn't the reader's is said and left.

    Whether one waits is asked before it is loaded: an answer that ends in between is then shown by the next look, and never
    missed.
    """
    found, running = [], set()
    for name in ("c", "d"):
        if conversation := page_state.get(name):
            if pane.busy(conversation):
                running.add(conversation)
            try:
                found.append(conversations.load(settings, reader, conversation))
            except InputError as error:
                st.warning(safe.plain(error, 400))
                page_state.put(**{name: None})
    return found, running & {conversation.id for conversation in found}


def _before(shown: list[Conversation]) -> Mapping[str, Any]:
    """Where the settings begin: as in this conversation, else as this session chose last, with the address's model."""
    if shown:
        return shown[0].settings
    last = dict(st.session_state.get(_LAST, {}))
    if asked := page_state.get("model"):
        last["model"] = asked
    return last


def _choose(scope: str, kept: ChatSettings, cards: list[Any], shown: list[Conversation]) -> tuple[ChatSettings, str]:
    """The settings as they are chosen now, and the model beside."""
    left, right, more = st.columns([5, 5, 2], vertical_alignment="bottom")
    with left:
        model = panel.model(scope, "model", cards, kept.model)
    with right:
        beside = str(shown[1].settings.get("model", "")) if len(shown) > 1 else ""
        other = panel.model(scope, "beside", cards, beside, optional=True)
    with more:
        panel.keep_typed()
    with more, st.popover(t("chat.settings"), icon=":material/tune:", width="stretch"):
        values = panel.panel(scope, kept, asking.tools(ui.settings()))
    return ChatSettings(**{**kept.model_dump(), **values, "model": model}), other


def _ask(settings: Settings, reader: str, shown: list[Conversation], chosen: ChatSettings, other: str, question: str) -> None:
    """Puts a question to the model, or to both; new conversations get their place in the address."""
    wanted = [chosen, *([chosen.model_copy(update={"model": other})] if other else [])]
    ids = [conversation.id for conversation in shown][: len(wanted)]
    while len(ids) < len(wanted):
        ids.append(conversations.create(settings, reader, title=_title(question, wanted, len(ids))))
    for place, (mine, conversation) in enumerate(zip(wanted, ids, strict=True)):
        beside = ids[1 - place] if len(ids) > 1 else None
        conversations.configure(settings, reader, conversation, settings={**mine.changed(), "beside": beside})
        conversations.append(settings, reader, conversation, "user", question)
        pane.ask(settings, conversations.load(settings, reader, conversation), mine)
    st.session_state[_LAST] = chosen.changed()
    page_state.put(c=ids[0], d=ids[1] if len(ids) > 1 else None, model=None)
    st.rerun()


def _title(question: str, wanted: list[ChatSettings], place: int) -> str:
    """The question; with two models also which of them answers."""
    short = " ".join(question.split())[:80]
    return f"{short} · {wanted[place].model}" if len(wanted) > 1 else short
