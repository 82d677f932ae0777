"""Comparing two evaluations from their files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from components.comparison import Comparison, LeftOut, compare, left_out, read_items
from components.errors import InputError
from components.noise import Floor
from components.paired import pair


def evaluation(folder: Path, scores: list[float], **fields: Any) -> Path:
    folder.mkdir()
    items = [
        {
            "benchmark": "sums",
            "id": str(i),
            "group": "seen" if i % 2 else "unseen",
            "prompt": f"What is {i}\u2028?",
            "scores": {"accuracy": score},
            **fields,
        }
        for i, score in enumerate(scores)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return folder


def read(folder: Path, *metrics: str, other: Path) -> list[Comparison]:
    return compare(read_items(folder), read_items(other), metrics or None)


def test_compare_pairs_by_id(tmp_path: Path) -> None:
    a, b = [1.0, 1, 1, 0, 1, 1, 1, 1], [0.0, 1, 0, 0, 1, 0, 0, 1]
    first, second = evaluation(tmp_path / "a", a), evaluation(tmp_path / "b", b)
    lines = (second / "items.jsonl").read_bytes().split(b"\n")[:-1]
    (second / "items.jsonl").write_bytes(b"\n".join(reversed(lines)) + b"\n")  # another order, the same items
    [found] = read(first, other=second)
    assert (found.benchmark, found.metric, found.paired) == ("sums", "accuracy", pair(a, b))
    [seen] = read(first, "accuracy@seen", other=second)
    assert seen.difference == pair(a[1::2], b[1::2]).difference
    assert read(second, other=first)[0].difference.value < 0


def test_other_items_are_an_error(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", [1, 0, 1])
    with pytest.raises(InputError, match="1 only in the first, 0 only in the second"):
        read(first, other=evaluation(tmp_path / "b", [1, 0]))
    with pytest.raises(InputError, match="3 only in the first, 3 only in the second"):
        read(first, other=evaluation(tmp_path / "c", [1, 0, 1], prompt="another question"))


def test_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    first, second = evaluation(tmp_path / "a", [1]), evaluation(tmp_path / "b", [1], benchmark="products")
    said = r"no benchmark with a metric in common \(the first has sums accuracy; the second has products accuracy\)"
    with pytest.raises(InputError, match=said):
        read(first, other=second)
    with pytest.raises(InputError, match="named f1"):
        read(first, "f1", other=first)
    with pytest.raises(InputError, match=r"has no items\.jsonl"):
        read_items(tmp_path)


def items(right: int, benchmark: str, n: int = 200) -> list[dict[str, Any]]:
    return [{"benchmark": benchmark, "id": i, "prompt": "p", "scores": {"accuracy": float(i < right)}} for i in range(n)]


def test_equal_ratings_are_compared_within_their_range(tmp_path: Path) -> None:
    """With nothing but what is seen ratings of 7 and 7 could differ by 7, but a rating can be 10 as well."""
    [rated] = read(evaluation(tmp_path / "a", [7.0] * 5, range=[1, 10]), other=evaluation(tmp_path / "b", [7.0] * 5, range=[1, 10]))
    [seen] = read(evaluation(tmp_path / "c", [7.0] * 5), other=evaluation(tmp_path / "d", [7.0] * 5))
    assert rated.call == seen.call == "no difference shown"
    assert rated.difference.high == pytest.approx(seen.difference.high * 9 / 7)


def test_what_only_one_side_has_is_named() -> None:
    ours = items(9, "sums", 10) + items(9, "first", 10)
    theirs = [{**item, "scores": {**item["scores"], "f1": 0.5}} for item in items(9, "sums", 10)] + items(9, "second", 10)
    assert left_out(ours, theirs) == LeftOut(("first",), ("sums f1", "second"))
    assert left_out(ours, ours) == LeftOut()


@pytest.mark.parametrize(
    ("right", "half_width", "call", "words"),
    [
        (120, None, "better", "noise floor not measured"),
        (120, 0.05, "better", "noise floor ±0.050 (4 runs)"),
        (120, 0.11, "no difference shown", "the difference lies inside the noise floor"),
        (102, 0.0, "no difference shown", "they differ on too few items to show any"),
        (80, 0.05, "worse", "0 won, 20 lost, p=7.8e-06"),
        (80, 0.11, "no difference shown", "lies inside the noise floor"),
    ],
)
def test_better_is_said_only_beyond_interval_and_noise_floor(right: int, half_width: float | None, call: str, words: str) -> None:
    floors = {} if half_width is None else {("sums", "accuracy"): Floor(half_width, 4)}
    [found] = compare(items(right, "sums"), items(100, "sums"), floors=floors)
    assert found.call == found.to_dict()["call"] == call
    assert found.text().startswith(f"{call}: ")
    assert words in found.text()


def test_what_is_said_never_contradicts_the_p_value_beside_it() -> None:
    """Also where many are corrected for: the p-value shown is the corrected one, and 0.05 divides the calls."""
    for wins in range(4, 14):
        for losses in range(0, 5):
            ours = [{**item, "scores": {"accuracy": float(i < wins)}} for i, item in enumerate(items(0, "a"))]
            theirs = [{**item, "scores": {"accuracy": float(wins <= i < wins + losses)}} for i, item in enumerate(items(0, "a"))]
            for found in [*compare(ours, theirs), *compare(ours + items(9, "b"), theirs + items(5, "b"))]:
                p = re.search(r"p([=<])([\d.e-]+)", found.text())
                assert p is not None
                below = float(p[2]) < 0.05 or p[1] == "<"
                assert below == (found.call == "better"), found.text()


def test_many_benchmarks_are_corrected_and_it_is_said() -> None:
    few = items(107, "a")
    assert compare(few, items(100, "a"))[0].call == "better"
    ours = few + [item for name in "bcdef" for item in items(100, name)]
    theirs = [item for name in "abcdef" for item in items(100, name)]
    found = compare(ours, theirs)
    assert {each.call for each in found} == {"no difference shown"}
    assert all(each.paired.family == 6 and "corrected for 6 comparisons" in each.text() for each in found)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": "0"}, "row 3 of .* has the benchmark and id of row 1"),
        ({"scores": {"accuracy": float("nan")}}, r"row 3 of items.jsonl isn't valid JSON \(NaN is no JSON value"),
        ({"scores": {"accuracy": None}}, "row 3 of .*: score 'accuracy' is None, expected a number"),
        ({"scores": {"accuracy": "1"}}, "row 3 of .*: score 'accuracy' is '1', expected a number"),
        ({"scores": None}, "row 3 of .* has no 'scores'"),
        ({"range": [10, 1]}, r"row 3 of .*: 'range' is \[10, 1\], expected the least and the largest possible score"),
        (None, "row 3 of items.jsonl isn't valid JSON"),
    ],
)
def test_items_that_nothing_may_rest_on_are_refused(tmp_path: Path, changed: dict[str, Any] | None, said: str) -> None:
    folder = evaluation(tmp_path / "a", [1.0, 0.0])
    with (folder / "items.jsonl").open("a") as file:
        whole = json.dumps({"benchmark": "sums", "id": "9", "scores": {"accuracy": 1.0}} | (changed or {}))
        file.write(whole if changed else whole[:-9])
    with pytest.raises(InputError, match=said):
        read_items(folder)
