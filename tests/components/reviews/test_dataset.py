"""Votes, thumbs and edited answers become preference rows, with who said so; what they don't agree on doesn't."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from components.data import prepare, records, versions
from components.data.sources import feedback as source
from components.data.sources.feedback import Config
from components.database.review_models import FeedbackRow
from components.errors import InputError
from components.reviews import arena, conversations, dataset, feedback, opened, snapshot
from components.reviews.conversations import Said
from components.settings import Settings
from tests.components.reviews.conftest import MODELS, by_chance, meet, prefers, vote_all

ALL = Config(heldout=0, exclude_clickers=False)
PROMPTS = [f"What is {n} + {n}?" for n in range(30)]


def rows(home: Settings, **settings: Any) -> dataset.Rows:
    return dataset.rows(snapshot.said(home), ALL.model_copy(update=settings))


def votes(home: Settings, **choices: str) -> None:
    """One prompt, and what each reviewer says of it: the model's number, or tie or both_bad."""
    arena.add_prompts(home, ["Which?"], "ada")
    for reviewer, choice in choices.items():
        match = meet(home, reviewer)
        assert match is not None
        sides = arena.models_of(home, match.id).models
        chosen = choice if choice in ("tie", "both_bad") else "a" if sides["a"].endswith(choice) else "b"
        arena.vote(home, match.id, chosen, reviewer, 5.0)  # type: ignore[arg-type]


def chat(home: Settings, question: str, *answers: str, system: str = "") -> list[int]:
    """Answers to one question, each a branch of its own."""
    made = conversations.create(home, "ada")
    if system:
        conversations.append(home, "ada", made, "system", system)
    asked = conversations.append(home, "ada", made, "user", question)
    said = Said("m", MODELS[0], "1" * 64)
    return [conversations.append(home, "ada", made, "assistant", text, said=said, after=asked) for text in answers]


def test_a_pair_says_who_preferred_which_answer_of_which_version(home: Settings) -> None:
    votes(home, ada="2", bob="2", cyn="1")
    (row,) = rows(home).pairs
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("Which?", f"{MODELS[1]} says: Which?", f"{MODELS[0]} says: Which?")
    assert row["agreement"] == 0.6667
    assert row["votes"] == [1, 2, 3]
    assert row["chosen_by"] == {"model": MODELS[1], "version": MODELS[1], "digest": "2" * 64}
    assert row["rejected_by"]["digest"] == "1" * 64
    assert len(row["reviewers"]) == 3
    assert all(name.startswith("reviewer-") for name in row["reviewers"])
    assert not {"ada", "bob", "cyn"} & set(json.dumps(row).replace('"', " ").split())


@pytest.mark.parametrize(
    ("choices", "settings", "reason"),
    [
        ({"ada": "1", "bob": "1", "cyn": "2"}, {"min_agreement": 0.67}, "disagreed"),
        ({"ada": "1", "bob": "2"}, {}, "tied"),
        ({"ada": "tie", "bob": "both_bad"}, {}, "tied"),
        ({"ada": "1", "bob": "tie"}, {"min_agreement": 0.6}, "disagreed"),
        ({"ada": "1", "bob": "both_bad"}, {"min_agreement": 0.6}, "disagreed"),
        ({"ada": "1"}, {"min_votes": 2}, "few_votes"),
        ({"ada": "1"}, {"models": ("models:/other/1",)}, None),
        ({"ada": "1"}, {"sources": ("edit", "thumb")}, None),
    ],
)
def test_what_reviewers_don_t_agree_on_makes_no_pair(
    home: Settings, choices: dict[str, str], settings: dict[str, Any], reason: str | None
) -> None:
    votes(home, **choices)
    found = rows(home, **settings)
    assert found.pairs == []
    assert found.notes["left_out"] == ({reason: 1} if reason else {})


def test_ties_count_against_or_not_at_all(home: Settings) -> None:
    votes(home, ada="1", bob="1", cyn="tie", dan="tie")
    assert [row["agreement"] for row in rows(home, min_agreement=0.5).pairs] == [0.5]
    assert rows(home, min_agreement=0.6).pairs == []
    assert [row["agreement"] for row in rows(home, min_agreement=0.6, ties="ignore").pairs] == [1.0]


def test_equal_and_blank_answers_make_no_pair(home: Settings) -> None:
    arena.add_prompts(home, ["same", "blank"], "ada")
    vote_all(
        home, "ada", prefers(MODELS[1]), say=lambda prompt, model: " " if prompt == "blank" and model == MODELS[0] else "Same  "
    )
    assert rows(home).notes["left_out"] == {"blank": 1, "same_answer": 1}


@pytest.mark.parametrize("same", [True, False])
def test_a_system_prompt_is_part_of_what_was_asked(home: Settings, same: bool) -> None:
    """A row that left it out would teach to answer so without it; under two of them answers aren't to the same."""
    arena.add_prompts(home, ["Which?"], "ada")
    match = arena.next_match(home, "ada", MODELS)
    assert match is not None
    for side, model in arena.models_of(home, match.id).missing():
        system = "Be brief." if same or side == "a" else "Be long."
        arena.answer(home, match.id, side, arena.Answer(model, model, settings={"system": system}))
    arena.vote(home, match.id, "a", "ada", 5.0)
    found = rows(home)
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which?"}]
    assert [row["prompt"] for row in found.pairs] == ([asked] if same else [])
    assert found.notes["left_out"] == ({} if same else {"system_prompts": 1})


def test_edited_answers_and_thumbs_become_pairs_and_labels(home: Settings) -> None:
    bad, good = chat(home, "What is 2 + 2?", "Five.", "It is 4.")
    feedback.edit(home, "ada", bad, "Four.")
    feedback.edit(home, "bob", good, " it IS 4. ")
    feedback.thumb(home, "ada", bad, -1)
    feedback.thumb(home, "ada", good, 1)
    feedback.thumb(home, "bob", good, 1)
    (disputed,) = chat(home, "Sing!", "La.")
    feedback.thumb(home, "ada", disputed, 1)
    feedback.thumb(home, "bob", disputed, -1)
    found = rows(home)
    assert [(row["chosen"], row["rejected"], row["sources"]) for row in found.pairs] == [
        ("Four.", "Five.", ["edit"]),
        ("It is 4.", "Five.", ["thumb"]),
    ]
    assert found.pairs[0]["chosen_by"]["model"] == "person"
    assert [(row["completion"], row["label"], len(row["reviewers"])) for row in found.labelled] == [
        ("Five.", False, 1),
        ("It is 4.", True, 2),
    ]
    assert found.notes["left_out"] == {"disputed_thumbs": 1}


def test_a_later_turn_is_a_pair_with_all_that_stands_before_it(home: Settings) -> None:
    made = conversations.create(home, "ada", settings={})
    said, settings = Said("m", MODELS[0], "1" * 64), {"settings": {"system": "Be kind.", "steps": "ask"}}
    first = conversations.append(home, "ada", made, "user", "What is 2 + 2?")
    conversations.append(home, "ada", made, "assistant", "4.", said=said)
    more = conversations.append(home, "ada", made, "user", "And twice that?")
    bad = conversations.append(home, "ada", made, "assistant", "9.", said=said, details=settings)
    good = conversations.append(home, "ada", made, "assistant", "8.", said=said, details=settings, after=more)  # a retry
    conversations.append(home, "ada", made, "assistant", "Four.", said=said, after=first)  # the first answer, asked for again
    conversations.append(home, "ada", made, "user", "And twice that?")
    other = conversations.append(home, "ada", made, "assistant", "Seven.", said=said, details=settings)
    for answer, thumb in ((bad, -1), (good, 1), (other, -1)):
        feedback.thumb(home, "ada", answer, thumb)  # type: ignore[arg-type]
    feedback.edit(home, "bob", other, "Eight.")
    found = rows(home)

    def asked(answer: str) -> list[dict[str, str]]:
        turns = [("system", "Be kind."), ("user", "What is 2 + 2?"), ("assistant", answer)]
        last = ("user", "And twice that?\n\nLet's think step by step.")
        return [{"role": role, "content": content} for role, content in (*turns, last)]

    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in found.pairs] == [
        (asked("Four."), "Eight.", "Seven."),
        (asked("4."), "8.", "9."),
    ]
    assert [(row["prompt"], row["completion"], row["label"]) for row in found.labelled] == [
        (asked("4."), "9.", False),
        (asked("4."), "8.", True),
        (asked("Four."), "Seven.", False),
    ]
    assert found.notes["left_out"] == {}


TOOLS = [{"type": "function", "function": {"name": "calculator", "parameters": {"type": "object"}}}]


def with_tools(home: Settings, question: str, answer: str, result: str, turn: bool = True, arguments: str = '{"e": "1+1"}') -> int:
    """An answer on whose way a tool was used, as the chat keeps it."""
    made = conversations.create(home, "ada")
    conversations.append(home, "ada", made, "user", question)
    call = {"id": "call-1", "type": "function", "function": {"name": "calculator", "arguments": arguments}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "content": result},
        {"role": "assistant", "content": answer},
    ]
    details: dict[str, Any] = {"steps": [{"name": "calculator"}]}
    details |= {"turn": {"messages": messages, "tools": TOOLS}} if turn else {}
    return conversations.append(home, "ada", made, "assistant", answer, said=Said("m", MODELS[0]), details=details)


def test_what_tools_said_stands_before_the_answer_that_they_led_to(home: Settings, tmp_path: Path) -> None:
    bad = with_tools(home, "Twice one?", "Three.", "2")
    feedback.edit(home, "ada", bad, "Two.")
    feedback.thumb(home, "ada", bad, -1)
    for answer, result, thumb in (("It is 2.", "2", 1), ("It is 7.", "7", -1)):
        feedback.thumb(home, "bob", with_tools(home, "And one?", answer, result), thumb)  # type: ignore[arg-type]
    found = rows(home)
    (pair,) = found.pairs
    assert (pair["chosen"], pair["rejected"], pair["tools"]) == ("Two.", "Three.", TOOLS)
    question, called, said = pair["prompt"]
    assert question == {"role": "user", "content": "Twice one?"}
    assert (called["content"], called["tool_calls"][0]["function"]["name"]) == ("", "calculator")
    assert said == {"role": "tool", "tool_call_id": "call-1", "content": "2"}
    assert [(row["completion"], row["prompt"][-1]["content"], row["label"]) for row in found.labelled] == [
        ("Three.", "2", False),
        ("It is 2.", "2", True),
        ("It is 7.", "7", False),
    ]
    assert found.notes["left_out"] == {"saw_other_tool_results": 1}
    for kind, kept in (("preference", found.pairs), ("labelled", found.labelled)):
        records.write(tmp_path / f"{kind}.jsonl", kept)
        assert list(records.read(tmp_path / f"{kind}.jsonl", kind)) == kept  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "turn", "reason"),
    [('{"e": ', True, "tool_messages_unreadable"), ("{}", False, "tool_messages_missing")],
)
def test_an_answer_whose_tool_messages_can_t_be_written_is_left_out_by_name(
    home: Settings, arguments: str, turn: bool, reason: str
) -> None:
    feedback.edit(home, "ada", with_tools(home, "Twice one?", "Three.", "2", turn, arguments), "Two.")
    found = rows(home)
    assert found.pairs == []
    assert found.notes["left_out"] == {reason: 1}


def test_feedback_from_before_tool_messages_were_kept_is_left_out(home: Settings) -> None:
    message = with_tools(home, "Twice one?", "Three.", "2", turn=False)
    asked = json.dumps([{"role": "user", "content": "Twice one?"}])
    said = {"text": "Two.", "prompt": asked, "answer": "Three.", "model": "m"}
    with opened.opened(home).write() as session:
        session.add(FeedbackRow(message=message, reviewer="ada", kind="edit", value=0, **said))
    assert rows(home).notes["left_out"] == {"tool_messages_missing": 1}
    digest = snapshot.take(home)
    assert dataset.rows(snapshot.read(snapshot.path_of(home, digest)), ALL).notes["left_out"] == {"tool_messages_missing": 1}


def test_all_turns_of_a_conversation_are_on_the_same_side(tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "home")
    said = Said("m", MODELS[0], "1" * 64)
    for prompt in PROMPTS:
        made = conversations.create(home, "ada")
        for question in (prompt, "Really?"):
            conversations.append(home, "ada", made, "user", question)
            answer = conversations.append(home, "ada", made, "assistant", "So so.", said=said)
            feedback.edit(home, "bob", answer, "Better.")
            feedback.thumb(home, "bob", answer, -1)
    described = prepare.build(Config(heldout=0.3), tmp_path / "out", home)
    split = {name: list(records.read(tmp_path / "out" / f"{name}.jsonl", kind)) for name, kind in
             (("preference", "preference"), ("labelled", "labelled"), ("heldout", "preference"))}  # fmt: skip
    held = {row["prompt"] for row in split["heldout"] if isinstance(row["prompt"], str)}
    assert 0 < len(held) < 30
    assert len(split["heldout"]) == 2 * len(held)
    for name in ("preference", "labelled", "heldout"):
        long = [row["prompt"] for row in split[name] if isinstance(row["prompt"], list)]
        assert len(long) == (len(held) if name == "heldout" else 30 - len(held))
        assert {prompt[0]["content"] for prompt in long} == (held if name == "heldout" else set(PROMPTS) - held)
        assert all([message["content"] for message in prompt[1:]] == ["So so.", "Really?"] for prompt in long)
    assert all(row["feedback"] and row["reviewers"] and row["rejected_by"]["digest"] for row in split["heldout"])
    assert described["notes"]["left_out"] == {}
    assert [entry["leaked"] for entry in described["splits"].values()] == [0, 0, 0]


def test_the_same_pair_is_one_row_and_contradictions_are_none(home: Settings) -> None:
    for reviewer in ("ada", "bob"):
        first, second = chat(home, "Which?", "One.", "Two.")
        feedback.thumb(home, reviewer, first, 1)
        feedback.thumb(home, reviewer, second, -1)
    (row,) = rows(home).pairs
    assert len(row["feedback"]) == 4
    assert len(row["reviewers"]) == 2
    (second,) = chat(home, "which?", "Two.")
    feedback.edit(home, "cyn", second, "One.")
    (row,) = rows(home).pairs
    assert row["sources"] == ["edit", "thumb"]
    (first,) = chat(home, "Which?", "One.")
    feedback.edit(home, "dan", first, "two.")
    found = rows(home)
    assert found.pairs == []
    assert found.notes["left_out"]["contradicted"] == 2


def test_who_clicks_is_left_out(home: Settings) -> None:
    arena.add_prompts(home, PROMPTS, "ada")
    better = {prompt: MODELS[number % 3 == 0] for number, prompt in enumerate(PROMPTS)}
    for careful in ("ada", "bob"):
        vote_all(home, careful, lambda match, sides: prefers(better[match.prompt])(match, sides))
    vote_all(home, "clicker", by_chance)
    found = rows(home, exclude_clickers=True, min_agreement=1.0)
    assert len(found.pairs) == 30
    assert found.notes["left_out"] == {"votes_of_clickers": 30}
    assert len(found.notes["clickers"]) == 1
    assert found.notes["agreement"]["alpha"] == 1.0
    assert len(rows(home, min_agreement=1.0).pairs) < 30


def test_a_snapshot_never_changes_and_a_new_vote_makes_another(home: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no vote and no feedback yet"):
        snapshot.take(home)
    votes(home, ada="1")
    (bad,) = chat(home, "What is 2 + 2?", "Five.")
    feedback.edit(home, "ada", bad, "Four.")
    first = snapshot.take(home)
    assert snapshot.take(home) == first
    path = snapshot.path_of(home, first)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == first
    assert b'"ada"' not in path.read_bytes()
    assert dataset.rows(snapshot.read(path), ALL) == rows(home)
    votes(home, bob="2")
    second = snapshot.take(home)
    assert second != first
    assert dataset.rows(snapshot.read(path), ALL) != rows(home)
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"', 1))
    with pytest.raises(InputError, match="isn't the snapshot that its name says"):
        snapshot.read(path)
    with pytest.raises(InputError, match="isn't there"):
        snapshot.read(tmp_path / f"{first}.jsonl")


def test_the_source_holds_prompts_out_and_dvc_has_the_version(tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "home")
    arena.add_prompts(home, PROMPTS, "ada")
    vote_all(home, "ada", prefers(MODELS[1]))
    for answer in [chat(home, prompt, "So so.")[0] for prompt in PROMPTS[:8]]:
        feedback.edit(home, "bob", answer, "Better.")
        feedback.thumb(home, "bob", answer, -1)
    config = Config(heldout=0.3)
    built = versions.build(config, home, tmp_path)
    assert built.changed
    assert built.ref.md5.endswith(".dir")
    prepare.validate(built.ref.path)
    assert {name: split.kind for name, split in built.ref.splits.items()} == {
        "preference": "preference", "labelled": "labelled", "heldout": "preference",
    }  # fmt: skip
    split = {name: list(records.read(built.ref.file(name))) for name in built.ref.splits}
    asked = {name: {row["prompt"] for row in found} for name, found in split.items()}
    assert not asked["heldout"] & (asked["preference"] | asked["labelled"])
    assert asked["heldout"] | asked["preference"] == set(PROMPTS)
    assert len(split["preference"]) + len(split["heldout"]) == 38
    assert all(row["votes"] or row["feedback"] for row in split["preference"])
    notes = json.loads((built.ref.path / "dataset.json").read_bytes())["notes"]
    assert (notes["votes"], notes["remarks"], notes["reviewers"]) == (30, 16, 2)
    assert not versions.build(config, home, tmp_path).changed
    pinned = source.pin(config, home)
    vote_all(home, "cyn", prefers(MODELS[0]))
    assert versions.find(config, home, tmp_path) is None, "more votes are another version"
    again = versions.find(pinned, home, tmp_path)
    assert again is not None
    assert again.md5 == built.ref.md5, "what was built from a snapshot stays"


def test_too_little_is_said_plainly(tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "home")
    votes(home, ada="1", bob="2")
    with pytest.raises(InputError, match=r"no pair is left of 2 votes and 0 remarks \(1 tied\)"):
        prepare.build(Config(), tmp_path / "out", home)
    votes(home, cyn="1")
    with pytest.raises(InputError, match="collect votes on more prompts"):
        prepare.build(Config(), tmp_path / "out2", home)
    described = prepare.build(Config(heldout=0), tmp_path / "out3", home)
    assert described["splits"]["preference"]["rows"] == 1
