"""The arena without a browser: blind until the vote, fair in form and time, and every vote counts once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamlit.testing.v1 import AppTest

from components.reviews import arena
from components.reviews.standing import votes
from components.settings import Settings
from dashboards import access
from dashboards.talk import server
from tests.dashboards.conftest import eventually

OWNER = access._user()
MODELS = "models:/m/1,models:/n/1"
Opener = Callable[..., AppTest]
Serving = Callable[..., Any]


def said(page: AppTest) -> str:
    every = [*page.text, *page.markdown, *page.caption, *page.error, *page.info, *page.warning, *page.success]
    return "\n".join(each.value for each in every).replace("\\", "")


def button(page: AppTest, key: str) -> Any:
    return next(each for each in page.button if each.key == key)


def ready(page: AppTest, home: Settings) -> arena.Match:
    """The open match, once the page shows both answers."""
    match = arena.next_match(home, OWNER, MODELS.split(","))
    assert match is not None
    for side in "ab":
        answer = server.answers().get(f"arena.{match.id}.{side}")
        assert answer is None or answer.wait(20)
    page.run()
    assert not page.exception
    return match


def queue(home: Settings, *prompts: str) -> None:
    arena.add_prompts(home, prompts, "somebody")


def test_one_model_is_not_enough_and_the_page_says_so(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion")
    queue(home, "hello")
    page = open_page("arena")
    assert "Choose two versions" in said(page)


def test_without_a_server_nothing_is_asked(open_page: Opener, home: Settings) -> None:
    page = open_page("arena", models=MODELS)
    assert [each.value for each in page.code] == ["lapidar up"]


def test_names_come_after_the_vote_and_both_answers_at_once(open_page: Opener, serving: Serving, home: Settings) -> None:
    speaker = serving("m@champion", "n@champion")
    queue(home, "slowly, and hold")
    page = open_page("arena", models=MODELS)
    begun = arena.next_match(home, OWNER, MODELS.split(","))
    assert begun is not None
    answers = [server.answers().get(f"arena.{begun.id}.{side}") for side in "ab"]
    eventually(lambda: all(answer is not None and answer.look().pieces > 1 for answer in answers))
    page.run()
    assert "Both models are answering" in said(page)
    assert "word" not in said(page)
    speaker.may_end.set()
    match = ready(page, home)
    shown = said(page)
    assert "word0 word1" in shown
    hidden = [each.value for each in [*page.text, *page.markdown, *page.caption]]
    assert not [text for text in hidden if "models" in text and "/1" in text]
    assert {r["model"] for r in speaker.requests} == {"models:/m/1", "models:/n/1"}
    assert speaker.requests[0] | {"model": ""} == speaker.requests[1] | {"model": ""}
    button(page, "arena.vote.a").click().run()
    sides = arena.models_of(home, match.id).models
    assert f"You voted for **{sides['a']}**" in said(page)
    assert f"**A** · {sides['a']}" in said(page)
    assert f"**B** · {sides['b']}" in said(page)
    (vote,) = votes(home)
    assert (vote.choice, vote.reviewer, vote.a.model) == ("a", OWNER, sides["a"])
    assert vote.a.version == sides["a"]
    assert vote.seconds >= 0


def test_every_choice_is_kept_and_the_queue_ends(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion", "n@champion")
    queue(home, "one", "two", "three", "four")
    page = open_page("arena", models=MODELS)
    for choice in arena.CHOICES:
        ready(page, home)
        button(page, f"arena.vote.{choice}").click().run()
        assert not page.exception
        button(page, "arena.next").click().run()
    assert [vote.choice for vote in votes(home)] == list(arena.CHOICES)
    assert "You have voted on every prompt" in said(page)


def test_a_prompt_of_ones_own_is_asked_next_and_a_vote_can_be_changed_with_a_reason(
    open_page: Opener, serving: Serving, home: Settings
) -> None:
    serving("m@champion", "n@champion")
    queue(home, "from the queue")
    page = open_page("arena", models=MODELS)
    page.text_area("arena.own").set_value("my own").run()
    button(page, "arena.own.send").click().run()
    own = page.query_params["prompt"]
    match = arena.next_match(home, OWNER, MODELS.split(","), int(own if isinstance(own, str) else own[0]))
    assert match is not None
    for side in "ab":
        answer = server.answers().get(f"arena.{match.id}.{side}")
        assert answer is None or answer.wait(20)
    page.run()
    assert "my own" in [each.value for each in page.text]
    button(page, "arena.vote.tie").click().run()
    page.radio("arena.change.to").set_value("both_bad")
    page.text_input("arena.change.why").set_value("a slip").run()
    button(page, "arena.change.send").click().run()
    assert "You found both bad" in said(page)
    assert [vote.choice for vote in votes(home)] == ["both_bad"]


def test_a_model_that_fails_is_not_named_and_can_be_asked_again(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion", "n@champion")
    queue(home, "die", "next")
    page = open_page("arena", models=MODELS)
    ready(page, home)
    assert "an answer is missing" in said(page)
    assert "models:/" not in said(page)
    assert not [each for each in page.button if each.key and each.key.startswith("arena.vote")]
    button(page, "arena.again").click().run()
    assert not page.exception


def test_a_model_that_the_server_does_not_know_is_not_named_either(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion")
    queue(home, "hello")
    page = open_page("arena", models=MODELS)
    ready(page, home)
    assert "there is no model '…'" in said(page)
    assert "models:/" not in said(page)


def test_the_ranking_has_intervals_and_tells_when_there_is_none(open_page: Opener, serving: Serving, home: Settings) -> None:
    assert "No votes yet" in said(open_page("arena", show="ranking"))
    serving("m@champion", "n@champion")
    for number in range(8):
        queue(home, f"prompt {number}")
        for reviewer in ("ada", "bob"):
            match = arena.next_match(home, reviewer, MODELS.split(","))
            assert match is not None
            for side, model in arena.models_of(home, match.id).missing():
                arena.answer(home, match.id, side, arena.Answer(f"{model} says {number}"))
            best = next(side for side, model in arena.models_of(home, match.id).models.items() if model == "models:/m/1")
            arena.vote(home, match.id, best if number else "tie", reviewer, 1.0)
    page = open_page("arena", show="ranking")
    assert not page.exception
    rows = page.dataframe[0].value
    assert list(rows["Model"]) == ["models:/m/1", "models:/n/1"]
    assert (rows["Low"] < rows["Strength"]).all()
    assert [(each.label, each.value) for each in page.metric] == [("Votes", "16"), ("Reviewers", "2"), ("Agreement", "1.00")]


def test_a_vote_in_another_tab_counts_and_is_told(open_page: Opener, serving: Serving, home: Settings) -> None:
    serving("m@champion", "n@champion")
    queue(home, "hello")
    page = open_page("arena", models=MODELS)
    match = ready(page, home)
    arena.vote(home, match.id, "b", OWNER, 1.0)
    button(page, "arena.vote.a").click().run()
    assert not page.exception
    assert "you voted 'b' on this match" in said(page)
    assert f"You voted for **{arena.models_of(home, match.id).models['b']}**" in said(page)
    assert [vote.choice for vote in votes(home)] == ["b"]
