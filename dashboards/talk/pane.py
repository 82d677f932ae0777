"""One conversation on the page, with the answer that is on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import streamlit as st

from components.chat_settings import ChatSettings
from components.errors import LapidarError
from components.inference.answering import Progress
from components.reviews import conversations, feedback
from components.reviews.conversations import Conversation, Message
from components.settings import Settings
from dashboards import access
from dashboards.talk import acting, asking, messages, server
from dashboards.ui import numbers, safe
from dashboards.ui.text import t

SHOWN = 30
"""Messages of a long conversation that are drawn at once."""
_EVERY = 0.25


def busy(conversation: str) -> bool:
    """Whether an answer to this conversation is on its way."""
    answer = server.answers().get(conversation)
    return answer is not None and not answer.look().done


def draw(settings: Settings, conversation: Conversation, chosen: ChatSettings, waiting: bool) -> None:
    """Draws a conversation of the reader's own.

    Args:
        waiting: whether an answer was on its way before ``conversation`` was loaded.
    """

    @acting.as_reader(conversation.owner)
    def retry(message: Message) -> None:
        _again(settings, conversation, chosen, message.parent)

    def edited(message: Message, text: str) -> None:
        new = conversations.edit(settings, conversation.owner, conversation.id, message.id, text)
        _again(settings, conversation, chosen, new)
        st.rerun()

    acts = messages.Acts(settings, conversation.owner, conversation, retry, edited, waiting)
    given = feedback.given(settings, conversation.owner, [m.id for m in conversation.messages if m.role == "assistant"])
    for message in _shown(conversation):
        messages.draw(message, acts, given.get(message.id))
    if waiting:
        _streaming(conversation.id, chosen.model)
    elif conversation.messages and conversation.messages[-1].role == "user":
        _unanswered(conversation, lambda: _again(settings, conversation, chosen, conversation.messages[-1].id))
    meter(conversation)


def read_only(conversation: Conversation) -> None:
    """Draws a conversation that was shared."""
    for message in _shown(conversation):
        messages.draw(message)


def ask(settings: Settings, conversation: Conversation, chosen: ChatSettings) -> None:
    """Asks for the answer to the conversation's last message; why that can't be is shown on the next page."""
    st.session_state.pop(_why(conversation.id), None)
    try:
        asking.ask(settings, conversation, chosen)
    except LapidarError as error:
        server.answers().drop(conversation.id)
        st.session_state[_why(conversation.id)] = str(error)


def meter(conversation: Conversation) -> None:
    """How full the model's context is, from the last answer."""
    last = next((m for m in reversed(conversation.messages) if m.role == "assistant"), None)
    use = (last.details.get("use") or {}) if last is not None else {}
    context = use.get("context") or {}
    if not context.get("limit"):
        return
    samples = len((last.details.get("samples") if last else None) or "1")  # each of several has the context for itself
    taken = min(context["limit"], context["prompt"] + (use.get("completion_tokens") or 0) // samples)
    share = taken / context["limit"]
    words = t("chat.context", taken=numbers.number(taken), limit=numbers.number(context["limit"]), share=f"{share:.0%}")
    st.progress(share, text=words + (f" · {t('chat.context_full')}" if share > 0.9 else ""))


def _again(settings: Settings, conversation: Conversation, chosen: ChatSettings, question: int | None) -> None:
    """Asks for another answer to a question: the answers there are stay as branches."""
    if question is None:
        return
    fresh = conversations.load(settings, conversation.owner, conversation.id)
    places = [place for place, message in enumerate(fresh.messages) if message.id == question]
    if places:
        until = Conversation(fresh.id, fresh.owner, fresh.title, fresh.settings, fresh.share, fresh.messages[: places[0] + 1])
        ask(settings, until, chosen)


def _shown(conversation: Conversation) -> list[Message]:
    """The latest messages; earlier ones after a click, so that a long conversation stays quick."""
    key = f"chat.all.{conversation.id}"
    hidden = len(conversation.messages) - SHOWN
    if hidden <= 0 or st.session_state.get(key):
        return conversation.messages
    st.button(t("chat.show_earlier", n=hidden), key=f"{key}.button", on_click=lambda: st.session_state.update({key: True}))
    return conversation.messages[hidden:]


def _unanswered(conversation: Conversation, again: Callable[[], None]) -> None:
    """A question without an answer: why, if this page knows, and how to ask once more."""
    answer = server.answers().get(conversation.id)
    error = answer.look().error if answer is not None else None
    why = st.session_state.get(_why(conversation.id)) or (str(error) if error else "")
    if why:
        st.error(safe.plain(why, 500), icon=":material/error:")
    else:
        st.info(t("chat.unanswered"), icon=":material/hourglass_disabled:")

    @acting.as_reader(conversation.owner)
    def ask_again() -> None:
        again()

    st.button(t("chat.ask_again"), key=f"chat.again.{conversation.id}", icon=":material/refresh:", on_click=ask_again)


@access.live(_EVERY)
def _streaming(conversation: str, model: str) -> None:
    """The answer on its way, drawn anew a few times a second; the page around it stays as it is."""
    answer = server.answers().get(conversation)
    if answer is None or (now := answer.look()).done:
        st.rerun()
    with st.chat_message("assistant", avatar=messages.AVATARS["assistant"]):
        st.caption(safe.plain(model))
        messages.steps([asdict(step) for step in now.steps])
        for number, text in enumerate(now.texts, 1):
            if len(now.texts) > 1:
                st.caption(t("chat.sample_so_far", n=number, of=len(now.texts)))
            safe.text(text or "…")
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button(t("chat.stop"), key=f"chat.stop.{conversation}", icon=":material/stop_circle:", shortcut="Esc"):
                answer.stop()
            st.caption(_speed(now))


def _speed(now: Progress) -> str:
    if now.first is None:
        return t("chat.waiting", time=numbers.duration(now.seconds))
    parts = [numbers.duration(now.seconds)]
    if now.rate is not None:
        parts.append(t("chat.rate", n=numbers.number(round(now.rate, 1))))
    return " · ".join(parts)


def _why(conversation: str) -> str:
    return f"chat.why.{conversation}"
