from __future__ import annotations

import json

import pytest

from components.errors import InputError
from components.reviews import conversations, export, feedback, filters
from components.reviews.conversations import Said
from components.reviews.feedback import Given
from components.settings import Settings

SAID = Said("m@champion", "models:/m/1", "d" * 64)


def ask(home: Settings, question: str = "What is 2 + 2?", reply: str = "Five.") -> tuple[str, int, int]:
    """(conversation, question, answer)."""
    made = conversations.create(home, "ada")
    asked = conversations.append(home, "ada", made, "user", question)
    return made, asked, conversations.append(home, "ada", made, "assistant", reply, said=SAID, details={"temperature": 0.5})


def test_a_conversation_is_kept(home: Settings) -> None:
    made, asked, answered = ask(home)
    found = conversations.load(home, "ada", made)
    assert found.title == "What is 2 + 2?"
    assert found.chat() == [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "Five."}]
    assert found.messages[1].said == SAID
    assert found.messages[1].details == {"temperature": 0.5}
    assert [message.id for message in found.messages] == [asked, answered]
    conversations.configure(home, "ada", made, "Sums", {"top_p": 0.9})
    assert conversations.load(home, "ada", made).settings == {"top_p": 0.9}
    assert [each.title for each in conversations.listed(home, "ada")] == ["Sums"]


def test_editing_makes_a_branch_and_the_old_one_stays(home: Settings) -> None:
    made, asked, answered = ask(home)
    edited = conversations.edit(home, "ada", made, asked, "What is 3 + 3?")
    again = conversations.append(home, "ada", made, "assistant", "Six.", said=SAID)
    found = conversations.load(home, "ada", made)
    assert [message.content for message in found.messages] == ["What is 3 + 3?", "Six."]
    assert found.messages[0].siblings == (asked, edited)
    conversations.choose(home, "ada", made, asked)
    assert [message.id for message in conversations.load(home, "ada", made).messages] == [asked, answered]
    retried = conversations.append(home, "ada", made, "assistant", "Four.", said=SAID, after=asked)
    assert conversations.load(home, "ada", made).messages[1].siblings == (answered, retried)
    conversations.choose(home, "ada", made, edited)
    assert conversations.load(home, "ada", made).messages[-1].id == again


def test_it_is_its_owner_s_until_it_is_shared(home: Settings) -> None:
    made, asked, _ = ask(home)
    other, other_asked, _ = ask(home)
    for attempt in (
        lambda: conversations.load(home, "eve", made),
        lambda: conversations.append(home, "eve", made, "user", "x"),
        lambda: conversations.edit(home, "eve", made, asked, "x"),
        lambda: conversations.share(home, "eve", made),
        lambda: conversations.delete(home, "eve", made),
        lambda: conversations.edit(home, "ada", made, other_asked, "x"),
    ):
        with pytest.raises(InputError, match="has no"):
            attempt()
    token = conversations.share(home, "ada", made)
    assert conversations.share(home, "ada", made) == token
    shared = conversations.load_shared(home, token)
    assert shared.chat() == conversations.load(home, "ada", made).chat()
    assert shared.share is None, "who reads it doesn't get to pass it on by the page's state"
    assert [each.shared for each in conversations.listed(home, "ada")] == [False, True]
    conversations.unshare(home, "ada", made)
    with pytest.raises(InputError, match="nothing is shared"):
        conversations.load_shared(home, token)
    assert conversations.load(home, "ada", other).share is None


def test_feedback_outlives_its_conversation_and_the_newest_counts(home: Settings) -> None:
    made, asked, answered = ask(home)
    feedback.thumb(home, "ada", answered, -1)
    feedback.comment(home, "ada", answered, " wrong ")
    feedback.edit(home, "ada", answered, "Four.")
    feedback.thumb(home, "bob", answered, 1)
    feedback.thumb(home, "bob", answered, 0)
    assert feedback.given(home, "ada", [answered]) == {answered: Given(-1, "wrong", "Four.")}
    assert feedback.given(home, "bob", [answered]) == {answered: Given()}
    with pytest.raises(InputError, match="no answer of a model"):
        feedback.thumb(home, "ada", asked, 1)
    conversations.delete(home, "ada", made)
    assert feedback.given(home, "ada", [answered])[answered].edited == "Four."
    with pytest.raises(InputError, match="no answer of a model"):
        feedback.thumb(home, "ada", answered, 1)


def test_the_same_feedback_twice_is_one_row(home: Settings) -> None:
    from sqlalchemy import func, select

    from components.database.review_models import FeedbackRow
    from components.reviews.opened import opened

    *_, answered = ask(home)
    for value in (0, 1, 1, -1, -1, 1):
        feedback.thumb(home, "ada", answered, value)  # type: ignore[arg-type]
    with opened(home).read() as session:
        assert session.scalar(select(func.count()).select_from(FeedbackRow)) == 3


def test_exports_hold_what_was_said_as_text(home: Settings) -> None:
    made, *_ = ask(home, "Is `x` *bold*? [a](http://b)", "```\n<script>alert(1)</script>\n```")
    found = conversations.load(home, "ada", made)
    assert json.loads(export.export(found, "jsonl")) == {"messages": found.chat()}
    whole = json.loads(export.export(found, "json"))
    assert whole["messages"][1]["digest"] == "d" * 64
    text = export.export(found, "markdown")
    assert text.startswith("# Is \\`x\\` \\*bold\\*? \\[a\\]\\(http://b\\)\n")
    assert "````text\n```\n<script>alert(1)</script>\n```\n````" in text, "a fence longer than the answer's own"
    with pytest.raises(InputError, match="nothing to export"):
        export.export(conversations.load(home, "ada", conversations.create(home, "ada")), "json")


def test_filters_are_one_s_own(home: Settings) -> None:
    filters.save(home, "ada", "runs", "mine", {"status": "failed"})
    filters.save(home, "ada", "runs", "mine", {"status": "finished"})
    filters.save(home, "bob", "runs", "mine", {})
    assert filters.listed(home, "ada", "runs") == {"mine": {"status": "finished"}}
    assert filters.listed(home, "ada", "models") == {}
    filters.remove(home, "ada", "runs", "mine")
    filters.remove(home, "ada", "runs", "mine")
    assert filters.listed(home, "ada", "runs") == {}
    assert filters.listed(home, "bob", "runs") == {"mine": {}}
    with pytest.raises(InputError, match="can't be kept as JSON"):
        filters.save(home, "ada", "runs", "mine", {"x": float("nan")})
