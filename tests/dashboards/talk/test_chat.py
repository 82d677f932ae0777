"""The chat without a browser: what a reader asks is answered, kept, branched, voted on, shared; what fails is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from components.reviews import conversations, feedback
from components.reviews.conversations import Conversation
from components.settings import Settings
from dashboards import access
from dashboards.talk import server
from tests.dashboards.conftest import eventually

OWNER = access._user()
Opener = Callable[..., AppTest]
Serving = Callable[..., Any]


def ask(page: AppTest, question: str) -> None:
    page.chat_input[0].set_value(question).run()
    assert not page.exception


def address(page: AppTest, name: str = "c") -> str:
    """What a page's address says under a name."""
    found = page.query_params[name]
    return found if isinstance(found, str) else found[0]


def conversation(page: AppTest, home: Settings, name: str = "c") -> Conversation:
    return conversations.load(home, OWNER, address(page, name))


def settled(page: AppTest, home: Settings, name: str = "c") -> Conversation:
    """The conversation once nothing is on its way, with the page drawn anew."""
    found = server.answers().get(address(page, name))
    assert found is None or found.wait(20)
    page.run()
    assert not page.exception
    return conversation(page, home, name)


def texts(page: AppTest) -> list[str]:
    return [each.value for each in page.text]


def said(page: AppTest) -> str:
    return "\n".join(
        [*texts(page), *(each.value for each in [*page.markdown, *page.caption, *page.error, *page.info, *page.warning])]
    )


def button(page: AppTest, start: str) -> Any:
    return next(each for each in page.button if each.key and each.key.startswith(start))


def test_without_a_server_the_page_says_how_to_start_it(open_page: Opener, home: Settings) -> None:
    page = open_page("chat")
    assert "isn't running" in said(page)
    assert [each.value for each in page.code] == ["lapidar up"]
    assert not page.chat_input


def test_a_server_without_models_says_how_to_get_one(open_page: Opener, serving: Serving) -> None:
    serving()
    page = open_page("chat")
    assert [each.value for each in page.code] == ["lapidar run quickstart"]


def test_a_question_is_answered_and_kept_with_what_it_took(open_page: Opener, serving: Serving, home: Settings) -> None:
    speaker = serving("m@champion")
    page = open_page("chat")
    ask(page, "hello there")
    kept = settled(page, home)
    assert [(m.role, m.content) for m in kept.messages] == [
        ("user", "hello there"),
        ("assistant", "m@champion heard: hello there"),
    ]
    assert kept.messages[1].said is not None
    assert kept.messages[1].said.version == "models:/m/1"
    assert kept.title == "hello there"
    assert "m@champion heard: hello there" in texts(page)
    assert "3 tokens" in said(page)
    assert speaker.requests[0]["max_tokens"] == 256
    assert "Context: 5 of 100 tokens (5%)" in [each.proto.text for each in page.get("progress")]
    again = open_page("chat", c=kept.id)
    assert texts(again) == texts(page)


def test_an_answer_that_ends_while_its_page_is_drawn_is_shown(
    open_page: Opener, serving: Serving, home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving("m@champion")
    load = conversations.load

    def slowly(settings: Settings, reader: str, name: str) -> Conversation:
        found = load(settings, reader, name)
        if (answer := server.answers().get(name)) is not None:
            answer.wait(20)
        return found

    monkeypatch.setattr(conversations, "load", slowly)
    page = open_page("chat")
    ask(page, "slowly, please")
    assert "word19" in "".join(texts(page))
    assert "has no answer" not in said(page)


def test_settings_reach_the_server_and_come_back_with_the_conversation(open_page: Opener, serving: Serving, home: Settings) -> None:
    speaker = serving("m@champion")
    page = open_page("chat")
    page.number_input("talk.new.temperature").set_value(0.2)
    page.number_input("talk.new.seed").set_value(5)
    page.text_area("talk.new.system").set_value("Be brief.")
    page.text_area("talk.new.examples").set_value("1? => one")
    page.radio("talk.new.steps").set_value("ask")
    page.selectbox("talk.new.kv").set_value("window").run()
    page.number_input("talk.new.kv.window.ratio").set_value(0.25)
    ask(page, "two?")
    kept = settled(page, home)
    sent = speaker.requests[0]
    assert (sent["temperature"], sent["seed"], sent["lapidar"]["kv"]) == (0.2, 5, {"method": "window", "ratio": 0.25, "sinks": 4})
    assert [m["content"].split("\n")[0] for m in sent["messages"]] == ["Be brief.", "1?", "one", "two?"]
    assert kept.messages[0].content == "two?"
    again = open_page("chat", c=kept.id)
    assert again.number_input(f"talk.{kept.id}.temperature").value == 0.2
    assert again.number_input(f"talk.{kept.id}.kv.window.ratio").value == 0.25
    assert again.text_area(f"talk.{kept.id}.system").value == "Be brief."


def test_two_models_answer_side_by_side_each_with_its_own_history(open_page: Opener, serving: Serving, home: Settings) -> None:
    speaker = serving("m@champion", "n@champion")
    page = open_page("chat")
    page.selectbox("talk.new.beside").set_value("n@champion")
    ask(page, "hello")
    left, right = settled(page, home, "c"), settled(page, home, "d")
    assert [c.messages[-1].content for c in (left, right)] == ["m@champion heard: hello", "n@champion heard: hello"]
    ask(page, "more")
    settled(page, home, "c")
    settled(page, home, "d")
    histories = {r["model"]: [m["content"] for m in r["messages"]] for r in speaker.requests[2:]}
    assert histories == {
        "m@champion": ["hello", "m@champion heard: hello", "more"],
        "n@champion": ["hello", "n@champion heard: hello", "more"],
    }


def test_retrying_and_editing_make_branches_that_one_can_go_between(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion")
    page = open_page("chat")
    ask(page, "first")
    settled(page, home)
    button(page, "chat.retry").click().run()
    kept = settled(page, home)
    assert len(kept.messages[1].siblings) == 2
    assert "2/2" in said(page)
    button(page, f"chat.branch.{kept.messages[1].id}.-1").click().run()
    assert conversation(page, home).messages[1].id == kept.messages[1].siblings[0]
    button(page, "chat.edit").click().run()
    page.text_area(f"chat.edit.{kept.messages[0].id}.text").set_value("second")
    button(page, f"chat.edit.{kept.messages[0].id}.send").click().run()
    edited = settled(page, home)
    assert [m.content for m in edited.messages] == ["second", "m@champion heard: second"]
    assert len(edited.messages[0].siblings) == 2


def test_samples_vote_and_the_winner_speaks(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion")
    page = open_page("chat")
    page.number_input("talk.new.samples").set_value(3)
    page.text_input("talk.new.target").set_value("7")
    ask(page, "how many?")
    kept = settled(page, home)
    assert kept.messages[1].content == "The answer is 7."
    assert kept.messages[1].details["samples"] == ["The answer is 7.", "The answer is 7.", "The answer is 8."]
    assert "**7** has 2 of 3 votes" in said(page)
    assert "One sample is right with probability 0.67, one of 3 with 1.00, the majority of 3 with 1.00." in said(page)
    assert [each.proto.text for each in page.get("progress")][:2] == ["7 · 2", "8 · 1"]


def test_token_probabilities_are_kept_with_the_answer(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion")
    page = open_page("chat")
    page.number_input("talk.new.alternatives").set_value(2)
    ask(page, "hi")
    kept = settled(page, home)
    assert kept.messages[1].details["tokens"][1][0] == " hi"
    assert [len(token[2]) for token in kept.messages[1].details["tokens"]] == [2, 2, 2]  # the last one ends the answer
    assert "m@champion heard: hi" not in texts(page)  # it is drawn token by token


def test_thumbs_comments_and_better_answers_are_kept(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion")
    page = open_page("chat")
    ask(page, "hi")
    answer = settled(page, home).messages[1].id
    page.feedback(f"chat.thumb.{answer}").set_value(0).run()
    page.text_area(f"chat.comment.{answer}").set_value("too short")
    button(page, f"chat.comment.{answer}.keep").click().run()
    page.text_area(f"chat.improve.{answer}").set_value("Hello, how are you?")
    button(page, f"chat.improve.{answer}.keep").click().run()
    assert feedback.given(home, OWNER, [answer])[answer] == feedback.Given(-1, "too short", "Hello, how are you?")
    assert r"Comment: too short" in said(page)
    assert "Hello, how are you?" in texts(page)


def test_a_server_that_dies_mid_answer_leaves_what_it_said_and_a_way_on(
    open_page: Opener, serving: Serving, home: Settings
) -> None:
    serving("m@champion")
    page = open_page("chat")
    ask(page, "die")
    kept = settled(page, home)
    assert kept.messages[1].content == "word0 word1 word2 "
    assert kept.messages[1].details["finish"] == "error"
    assert "in the middle of the answer" in said(page)
    assert r"\`lapidar up\`" in said(page)
    assert button(page, "chat.retry")


def test_a_server_that_is_gone_leaves_the_question_with_the_reason(open_page: Opener, serving: Serving, home: Settings) -> None:
    speaker = serving("m@champion")
    page = open_page("chat")
    ask(page, "hi")
    settled(page, home)
    speaker.stop()
    ask(page, "are you there?")
    kept = settled(page, home)
    assert kept.messages[-1].content == "are you there?"
    assert "reached" in said(page)
    assert button(page, "chat.again")
    assert "m@champion heard: hi" in texts(page)


def test_stopping_keeps_what_came_and_frees_the_server(open_page: Opener, serving: Serving, home: Settings) -> None:
    speaker = serving("m@champion")
    page = open_page("chat")
    ask(page, "slow and endless")
    assert page.chat_input[0].disabled
    name = address(page)
    answer = server.answers().get(name)
    assert answer is not None
    while not answer.look().texts[0]:
        answer.wait(0.01)
    button(page, "chat.stop").click().run()
    assert answer.wait(20)
    kept = settled(page, home)
    assert kept.messages[1].details["finish"] == "stopped"
    assert kept.messages[1].content.startswith("word0 ")
    assert not page.chat_input[0].disabled
    eventually(lambda: speaker.running == 0)


def test_a_page_that_is_reloaded_finds_its_answer_and_another_tab_has_its_own(
    open_page: Opener, serving: Serving, home: Settings
) -> None:
    serving("m@champion")
    first = open_page("chat")
    ask(first, "slow and endless")
    name = address(first)
    other = open_page("chat")
    assert not other.chat_input[0].disabled
    ask(other, "quick")
    assert settled(other, home).messages[1].content == "m@champion heard: quick"
    reloaded = open_page("chat", c=name)
    assert button(reloaded, "chat.stop")
    running = server.answers().get(name)
    assert running is not None
    assert not running.look().done
    running.stop()
    assert running.wait(20)
    assert settled(reloaded, home).messages[0].content == "slow and endless"
    assert address(other) != name


def test_a_shared_conversation_is_read_only_and_only_by_its_link(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion")
    page = open_page("chat")
    ask(page, "hi")
    kept = settled(page, home)
    button(page, "chat.share").click().run()
    token = conversation(page, home).share
    assert f"/chat?shared={token}" in page.code[0].value
    reading = open_page("chat", shared=str(token))
    assert texts(reading) == ["hi", "m@champion heard: hi"]
    assert not reading.chat_input
    assert not reading.button
    button(page, "chat.unshare").click().run()
    assert "Nothing is shared here" in said(open_page("chat", shared=str(token)))
    conversations.delete(home, OWNER, kept.id)
    assert "it was deleted, or it is somebody else" in said(open_page("chat", c=kept.id)).replace("\\", "")


@pytest.mark.parametrize("language", ["en", "pt_BR"])
def test_what_a_model_says_is_shown_as_it_is(open_page: Opener, serving: Serving, home: Settings, language: str) -> None:
    serving("m@champion")
    page = open_page("chat", lang=language)
    ask(page, "hostile")
    settled(page, home)
    assert any("<img src=" in text for text in texts(page))
    assert not page.get("html")
    assert "evil" not in "".join(each.value for each in [*page.markdown, *page.caption])


def test_a_conversation_opens_whatever_letters_its_id_is_drawn_from(
    open_page: Opener, serving: Serving, home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving("m@champion")
    monkeypatch.setattr(conversations.secrets, "token_urlsafe", lambda _: "a__b--c-_d-_")
    page = open_page("chat", c=conversations.create(home, OWNER, settings={"model": "m@champion"}))
    ask(page, "Hello")
    assert settled(page, home).messages[1].content == "m@champion heard: Hello"


def test_tools_are_used_shown_kept_and_traced(
    open_page: Opener, serving: Serving, home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered: list[Settings] = []
    monkeypatch.setattr(
        "components.mlflow_traces.deliver", lambda settings, *_: delivered.append(settings)
    )  # MLflow has its own test
    serving("m@champion")
    begun = conversations.create(home, OWNER, settings={"model": "m@champion", "tools": ["calculator"]})
    page = open_page("chat", c=begun)
    ask(page, "17 * 3")
    kept = settled(page, home)
    assert kept.messages[1].content == "m@champion heard: 51"
    (step,) = kept.messages[1].details["steps"]
    assert (step["name"], step["result"], step["ok"], step["said"]) == ("calculator", "51", True, "Let me see.")
    turn = kept.messages[1].details["turn"]
    assert [message["role"] for message in turn["messages"]] == ["assistant", "tool", "assistant"]
    assert turn["messages"][0]["tool_calls"][0]["function"] == {"name": "calculator", "arguments": '{"expression": "17 * 3"}'}
    assert [tool["function"]["name"] for tool in turn["tools"]] == ["calculator"]
    assert "Used calculator" in [each.label for each in page.expander]
    assert "51" in [each.value for each in page.code]
    (trace,) = (home.root / "traces").glob("*.json")
    assert [span["type"] for span in json.loads(trace.read_text())["spans"]] == ["AGENT", "CHAT_MODEL", "TOOL", "CHAT_MODEL"]
    deadline = time.monotonic() + 10
    while not delivered and time.monotonic() < deadline:
        time.sleep(0.01)
    assert delivered == [home]
