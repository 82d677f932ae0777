"""Asks a question of a model and keeps the answer with its conversation, whether or not a page still looks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import streamlit as st

from components.chat_settings import ChatSettings
from components.consistency import vote
from components.errors import LapidarError
from components.inference.answering import Answer, Progress, Source
from components.reviews import conversations
from components.reviews.conversations import Conversation, Said
from components.settings import Settings
from dashboards.talk import server
from dashboards.talk.tokens import packed


def ask(settings: Settings, conversation: Conversation, chosen: ChatSettings) -> Answer:
    """The answer to a conversation's last message, on its way; one that is on its way already is not asked for again.

    Raises:
        LapidarError: if the server isn't there, or a setting makes no sense.
    """
    last = conversation.messages[-1].id
    source = _source(settings, conversation, chosen)

    def keep(progress: Progress) -> None:
        _keep(settings, conversation, last, chosen, progress)

    return server.answers().start(conversation.id, lambda: Answer(source, keep, chosen.samples))


def tools(settings: Settings) -> list[str]:
    """Tools that a model may use: the project's own, and the team's files in the home's folder ``tools``."""
    from components.agents import toolfiles

    return [*toolfiles.names(), *sorted(file.stem for file in (settings.root / "tools").glob("[!_]*.py"))]


def _source(settings: Settings, conversation: Conversation, chosen: ChatSettings) -> Source:
    messages = [{"role": m.role, "content": m.content} for m in conversation.messages if m.role in ("user", "assistant")]
    asked, client = chosen.ask(messages), server.client()
    if not chosen.tools:
        return client.stream(asked)
    from components.agents import toolfiles
    from components.agents.answer import ToolAnswer
    from components.agents.loop import Loop
    from components.agents.toolbox import Toolbox
    from components.agents.traces import Trace
    from components.mlflow_traces import folder

    own = toolfiles.names()
    found = []
    for name in chosen.tools:
        place = name if name in own else str(settings.root / "tools" / f"{name}.py")
        found += toolfiles.find(place, {"data": chosen.data} if name == "retrieval" else None)
    trace = Trace("chat", folder(settings), {"model": chosen.model, "conversation": conversation.id})
    return ToolAnswer(Loop(client, asked, Toolbox(found), trace=trace))


def _keep(settings: Settings, conversation: Conversation, after: int, chosen: ChatSettings, progress: Progress) -> None:
    """Appends what was said; an answer that never began leaves nothing behind."""
    if progress.steps:
        _courier(settings).wake()
    if not (progress.steps or any(text.strip() for text in progress.texts)):
        return
    use = progress.use
    said = Said(chosen.model, use.version if use else None, use.digest if use else None)
    best = winner(progress.texts, chosen)
    conversations.append(
        settings,
        conversation.owner,
        conversation.id,
        "assistant",
        progress.texts[best],
        said=said,
        details=_details(chosen, progress, best),
        after=after,
    )


def winner(texts: tuple[str, ...], chosen: ChatSettings) -> int:
    """Which of several samples speaks for them: the first that says what most say."""
    if len(texts) == 1:
        return 0
    try:
        votes = vote(texts, chosen.reader)
    except LapidarError:
        return 0
    return next((i for i, read in enumerate(votes.reads) if read.value is not None and read.value in votes.winners), 0)


def _details(chosen: ChatSettings, progress: Progress, best: int) -> dict[str, Any]:
    use = progress.use
    stopped = any(reply.finish == "stopped" for reply in progress.replies)  # of several samples the best one may have ended before
    finish = progress.replies[best].finish if len(progress.replies) > best else progress.finish
    found: dict[str, Any] = {
        "settings": chosen.changed(),
        "finish": "stopped" if stopped else finish,
        "seconds": round(progress.seconds, 3),
        "first": None if progress.first is None else round(progress.first, 3),
        "rate": None if progress.rate is None else round(progress.rate, 1),
        "use": None if use is None else asdict(use),
    }
    if progress.error is not None:
        found |= {"finish": "error", "error": str(progress.error)}
    if progress.tokens[best]:
        found["tokens"] = packed(progress.tokens[best])
    if progress.steps:
        found["steps"] = [asdict(step) for step in progress.steps]
        found["turn"] = asdict(progress.turn)
    if len(progress.texts) > 1:
        found["samples"] = list(progress.texts)
    return found


@st.cache_resource
def _courier(settings: Settings) -> Any:
    """Delivers what models did with tools to MLflow, in the background."""
    from components.mlflow_traces import Courier

    return Courier(settings)
