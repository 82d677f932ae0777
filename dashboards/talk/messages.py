"""One message of a conversation on the page: what was said, what it took, and what a reader may say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from components.chat_settings import ChatSettings
from components.consistency import Votes, vote
from components.errors import LapidarError
from components.reviews import conversations, feedback
from components.reviews.conversations import Conversation, Message
from components.reviews.feedback import Given
from components.settings import Settings
from dashboards.talk import acting, tokens
from dashboards.ui import numbers, safe
from dashboards.ui.text import t

AVATARS = {"user": ":material/person:", "assistant": ":material/diamond:"}
_EARLY = ("length", "stopped", "steps", "tokens", "seconds")


@dataclass(frozen=True)
class Acts:
    """What a reader can do with messages of their own conversation.

    Attributes:
        retry: asks again for the answer ``message``.
        edited: asks with another text in the place of the question ``message``.
        busy: whether an answer is on its way, so that nothing may be asked.
    """

    settings: Settings
    reader: str
    conversation: Conversation
    retry: Callable[[Message], None]
    edited: Callable[[Message, str], None]
    busy: bool


def draw(message: Message, acts: Acts | None = None, given: Given | None = None) -> None:
    """Draws a message; without ``acts`` it can only be read."""
    with st.chat_message(message.role, avatar=AVATARS.get(message.role, ":material/settings:")):
        if message.role == "assistant":
            _answer(message)
            if acts is not None:
                _answer_acts(message, acts, given or Given())
        else:
            _question(message, acts)


def _question(message: Message, acts: Acts | None) -> None:
    key = f"chat.edit.{message.id}"
    if acts is None or not st.session_state.get(key):
        safe.text(message.content)
        if acts is not None:
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                _branches(message, acts)
                st.button(
                    t("chat.edit"), key=f"{key}.begin", icon=":material/edit:", type="tertiary", disabled=acts.busy,
                    on_click=partial(st.session_state.__setitem__, key, True),
                )  # fmt: skip
        return
    text = st.text_area(t("chat.edit_question"), message.content, key=f"{key}.text", label_visibility="collapsed")
    with st.container(horizontal=True):
        if st.button(t("chat.edit_send"), key=f"{key}.send", type="primary", disabled=acts.busy or not text.strip()):
            st.session_state[key] = False
            acts.edited(message, text)
        st.button(t("chat.cancel"), key=f"{key}.cancel", on_click=partial(st.session_state.__setitem__, key, False))


def _answer(message: Message) -> None:
    details = message.details
    said = message.said
    if said is not None:
        st.caption(
            safe.plain(said.model) + (f" · {safe.plain(said.version)}" if said.version and said.version != said.model else "")
        )
    steps(details.get("steps") or ())
    samples = details.get("samples")
    if samples:
        draw_votes(samples, ChatSettings.kept(details.get("settings") or {}), message.id)
    if found := tokens.of(message.content, tokens.unpacked(details.get("tokens") or ())):
        tokens.draw(found, key=f"chat.tokens.{message.id}")
    else:
        safe.text(message.content)
    ended(str(details.get("finish", "")), details.get("error"))
    used(details)


def ended(finish: str, error: str | None = None) -> None:
    """Says why an answer ended, where that wasn't its own end."""
    if error:
        st.error(t("chat.cut", why=safe.plain(error, 400)), icon=":material/error:")
    elif finish in _EARLY:
        st.caption(t(f"chat.finish_{finish}"))


def used(details: Mapping[str, Any]) -> None:
    """One line of figures: tokens, speed, time, cache, what was left out of the context."""
    use = details.get("use") or {}
    context, cache = use.get("context") or {}, use.get("cache") or {}
    parts = [t("chat.tokens", n=use["completion_tokens"])] if use.get("completion_tokens") else []
    if details.get("rate"):
        parts.append(t("chat.rate", n=numbers.number(float(details["rate"]))))
    if details.get("first") is not None:
        parts.append(t("chat.first", time=numbers.duration(float(details["first"]))))
    if details.get("seconds") is not None:
        parts.append(t("chat.in_all", time=numbers.duration(float(details["seconds"]))))
    if use.get("reused_tokens"):
        parts.append(t("chat.reused", n=use["reused_tokens"]))
    if cache.get("length"):
        sizes = {"size": numbers.size(cache["nbytes"]), "full": numbers.size(cache["full_nbytes"])}
        parts.append(t("chat.cache", kept=cache["cached"], of=cache["length"], **sizes))
    if context.get("dropped_turns") or context.get("dropped_tokens"):
        parts.append(t("chat.dropped", turns=context.get("dropped_turns", 0), n=context.get("dropped_tokens", 0)))
    if parts:
        st.caption(" · ".join(parts))


def steps(done: Sequence[Mapping[str, Any]]) -> None:
    """The tools that a model used on the way to its answer, each with what it was given and what came back."""
    for step in done:
        name, ok = safe.plain(step.get("name", "")), bool(step.get("ok"))
        label = t("chat.step", name=name) if name else t("chat.step_unread")
        with st.expander(label, icon=":material/build:" if ok else ":material/error:"):
            if step.get("said"):
                safe.text(str(step["said"]))
            st.caption(t("chat.step_given"))
            safe.code(str(step.get("arguments", "")))
            st.caption(t("chat.step_result") if ok else t("chat.step_error"))
            safe.code(str(step.get("result", "")))


def draw_votes(texts: list[str], chosen: ChatSettings, key: int | str) -> None:
    """A vote among samples: what they say, how many say it, and every one of them."""
    try:
        votes = vote(texts, chosen.reader, chosen.target or None)
    except LapidarError as error:
        st.caption(safe.plain(error))
        return
    share = f"{votes.share.value:.0%} {numbers.between(votes.share.low, votes.share.high, '.0%')}"
    if not votes.winners:
        st.markdown(t("chat.vote_none", n=len(texts)))
    elif len(votes.winners) > 1:
        st.markdown(t("chat.vote_tie", values=", ".join(f"**{safe.plain(value, 80)}**" for value in votes.winners)))
    else:
        st.markdown(
            t("chat.vote_won", value=safe.plain(votes.winners[0], 80), n=votes.counts[votes.winners[0]], of=len(texts), share=share)
        )
    _bars(votes, len(texts))
    if votes.pass_at:
        n = len(texts)
        st.caption(
            t(
                "chat.vote_estimates",
                one=numbers.figure(votes.pass_at[1], ".2f"),
                n=n,
                any=numbers.figure(votes.pass_at[n], ".2f"),
                most=numbers.figure(votes.majority_at[n], ".2f"),
            )
        )
    with st.expander(t("chat.samples", n=len(texts))):
        for number, (text, read) in enumerate(zip(texts, votes.reads, strict=True), 1):
            sign = {True: " ✓", False: " ✗", None: ""}[read.right]
            st.caption(t("chat.sample", n=number, value=safe.plain(read.value if read.value is not None else "–", 80)) + sign)
            safe.text(text)


def _bars(votes: Votes, total: int) -> None:
    silent = total - sum(votes.counts.values())
    for value, count in list(votes.counts.items())[:6]:
        st.progress(count / total, text=t("chat.vote_bar", value=safe.plain(value, 60), n=count))
    if silent:
        st.progress(silent / total, text=t("chat.vote_silent", n=silent))


def _answer_acts(message: Message, acts: Acts, given: Given) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        _branches(message, acts)
        _thumbs(message, acts, given)
        st.button(
            t("chat.retry"), key=f"chat.retry.{message.id}", icon=":material/refresh:", type="tertiary", disabled=acts.busy,
            on_click=partial(acts.retry, message),
        )  # fmt: skip
        with st.popover(
            t("chat.comment"), icon=":material/comment:" if given.comment else ":material/add_comment:", type="tertiary"
        ):
            _note(message, acts, "comment", given.comment)
        with st.popover(t("chat.improve"), icon=":material/edit_note:", type="tertiary"):
            st.caption(t("chat.improve_about"))
            _note(message, acts, "improve", given.edited or message.content)
    if given.comment:
        st.caption(t("chat.commented", text=safe.plain(given.comment, 400)))
    if given.edited is not None:
        with st.container(border=True):
            st.caption(t("chat.improved"))
            safe.text(given.edited)


def _thumbs(message: Message, acts: Acts, given: Given) -> None:
    key = f"chat.thumb.{message.id}"

    @acting.as_reader(acts.reader)
    def keep() -> None:
        value = st.session_state.get(key)
        feedback.thumb(acts.settings, acts.reader, message.id, 0 if value is None else 1 if value else -1)

    default = {1: 1, -1: 0}.get(given.thumb)
    st.feedback("thumbs", key=key, default=default, on_change=keep)


def _note(message: Message, acts: Acts, kind: str, before: str) -> None:
    """A comment or a better answer, kept by a button; emptied it is taken back."""
    key = f"chat.{kind}.{message.id}"
    text = st.text_area(t(f"chat.text_{kind}"), before, key=key, height=160 if kind == "improve" else 90)

    @acting.as_reader(acts.reader)
    def keep() -> None:
        said = str(st.session_state.get(key, text))
        if kind == "comment":
            feedback.comment(acts.settings, acts.reader, message.id, said)
        else:
            feedback.edit(acts.settings, acts.reader, message.id, "" if said.strip() == message.content.strip() else said)

    st.button(t("chat.keep"), key=f"{key}.keep", on_click=keep)


def _branches(message: Message, acts: Acts) -> None:
    """Goes from one text in this place to another."""
    if len(message.siblings) < 2:
        return
    here = message.siblings.index(message.id)

    @acting.as_reader(acts.reader)
    def go(step: int) -> None:
        conversations.choose(acts.settings, acts.reader, acts.conversation.id, message.siblings[here + step])

    for step, icon in ((-1, ":material/chevron_left:"), (1, ":material/chevron_right:")):
        st.button(
            t("chat.branch_before") if step < 0 else t("chat.branch_after"), key=f"chat.branch.{message.id}.{step}", icon=icon,
            type="tertiary", disabled=acts.busy or not 0 <= here + step < len(message.siblings), on_click=partial(go, step),
        )  # fmt: skip
        if step < 0:
            st.caption(f"{here + 1}/{len(message.siblings)}", width="content")
