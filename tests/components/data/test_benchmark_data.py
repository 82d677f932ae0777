"""Benchmark data as DVC versions below the home: importing, refusing, keeping out of sight."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.artifacts import Inputs
from components.benchmarks import _stored, gpqa_main, gsm8k, mmlu_pro, own, svamp
from components.benchmarks._task import chosen, stored
from components.data import benchmarks, needs, tables, veil
from components.errors import InputError
from components.evaluate import harness
from components.graph import Node, input_digests
from components.settings import Settings

QUESTION = "A\u0085 B\u2028 C?"
ROWS = [{"question": f"{QUESTION} {i}", "answer": f"It is {i}.\n#### {i}"} for i in range(6)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("benchmarks") / "home")


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_format_gives_the_same_version(settings: Settings, tmp_path: Path) -> None:
    import pandas as pd
    from datasets import Dataset

    plain = jsonl(tmp_path / "test.jsonl", ROWS)
    (tmp_path / "test.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "test.json").write_text(json.dumps(ROWS))
    pd.DataFrame(ROWS).to_csv(tmp_path / "test.csv", index=False)
    pd.DataFrame(ROWS).to_parquet(tmp_path / "test.parquet")
    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "test"))
    found = {}
    for path in sorted(tmp_path.iterdir()):
        made = benchmarks.import_files("gsm8k", path, None, None, settings)
        assert made.items == 6
        found[path.name] = _stored.items(made.ref)
    assert len(found) == 6
    assert all(items == found["test.jsonl"] for items in found.values())
    assert found["test.jsonl"][2] == {"id": "3", "group": None, "question": f"{QUESTION} 2", "answer": "It is 2.\n#### 2"}


def test_a_version_is_tracked_and_in_the_key(settings: Settings, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "test.jsonl", ROWS)
    first = benchmarks.import_files("gsm8k", path, jsonl(tmp_path / "train.jsonl", ROWS[:2]), None, settings)
    assert benchmarks.import_files("gsm8k", path, tmp_path / "train.jsonl", None, settings).changed is False
    other = benchmarks.import_files("gsm8k", jsonl(path, ROWS[:5]), None, None, settings)
    assert (first.changed, other.changed, first.ref.md5 == other.ref.md5) == (True, True, False)
    found = needs.need([gsm8k.Config()], settings)
    assert found["gsm8k"].md5 == other.ref.md5
    (found["gsm8k"].path / "items.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"has md5 .*import the benchmark again"):
        needs.need([gsm8k.Config()], settings)
    assert benchmarks.import_files("gsm8k", path, None, None, settings).ref.md5 == other.ref.md5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gsm8k", b'{"question": "a", "answer": "#### 1"}\n{"question": "b"}\n', r"row 2 of rows.jsonl has no 'answer'"),
        ("gsm8k", b'{"question": "a", "answer": "1"}\n', r"row 1 of rows.jsonl: 'answer' has no '####'"),
        ("gsm8k", b'{"question": "a", "answer": "#### 1"}\n{"question": "b", "ans', r"row 2 of rows.jsonl isn't valid JSON"),
        ("gsm8k", b'{"question": " ", "answer": "#### 1"}',  r"row 1 .*'question' is ' ', expected text"),
        ("gsm8k", b"", r"rows.jsonl is empty"),
        ("gsm8k", b'{"Body": "a"}', r"rows.jsonl has no 'answer'.*this one has Body"),
        ("svamp", b'{"question": "a", "answer": "#### 1"}\n', "'Answer' is None, expected a number"),
        ("mmlu_pro", b'{"question": "a", "options": ["1", "2"], "answer": "C"}', "'answer' is 'C', expected a letter"),
        ("aime24", b'{"Problem": "a", "Answer": "1000"}\n', r"'1000', expected a whole number from 0 to 999"),
        (
            "mmlu_pro",
            b'{"question_id": 1, "question": "a", "options": ["1", "2"], "answer": "A", "category": "x"}\n' * 2,
            r"row 2 of rows.jsonl repeats id '1' of row 1",
        ),
    ],
)  # fmt: skip
def test_rows_that_are_no_items(settings: Settings, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        benchmarks.import_files(name, path, None, None, settings)


def test_a_file_that_is_not_there_is_not_one_of_unknown_format(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nofile doesn't exist \(looked from"):
        benchmarks.import_files("gsm8k", tmp_path / "nofile", None, None, settings)


def test_files_that_were_cut(settings: Settings, tmp_path: Path) -> None:
    whole = gzip.compress(jsonl(tmp_path / "rows.jsonl", ROWS * 100).read_bytes())
    (tmp_path / "rows.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="isn't a whole gzip file"):
        benchmarks.import_files("gsm8k", tmp_path / "rows.jsonl.gz", None, None, settings)
    (tmp_path / "rows.json").write_text(json.dumps(ROWS)[:-30])
    with pytest.raises(InputError, match="isn't whole JSON"):
        benchmarks.import_files("gsm8k", tmp_path / "rows.json", None, None, settings)


def test_missing_data_says_how_to_get_it(tmp_path: Path) -> None:
    empty = Settings(home=tmp_path / "home")
    with pytest.raises(InputError, match=r"'gsm8k' has no data in .*grade-school-math.*lapidar data benchmark gsm8k --from PATH"):
        needs.need([gsm8k.Config()], empty)
    with pytest.raises(InputError, match=r"gpqa_main.*its authors ask not to put it in plain text anywhere"):
        needs.need([gpqa_main.Config()], empty)
    found, missing = needs.look([gsm8k.Config(), svamp.Config()], empty)
    assert (found, len(missing), (tmp_path / "home").exists()) == ({}, 2, False)
    with pytest.raises(InputError, match="wordproblems' has nothing to import"):
        benchmarks.import_files("wordproblems", tmp_path, None, None, empty)
    with pytest.raises(InputError, match="benchmark has no method 'gsm9k'; did you mean 'gsm8k'"):
        benchmarks.import_files("gsm9k", tmp_path, None, None, empty)
    with pytest.raises(InputError, match=r"Maxwell-Jia/AIME_2024 needs --revision, 40 hex digits"):
        benchmarks.fetch("aime24", "main", empty)


def test_gpqa_is_nowhere_in_plain_text(settings: Settings, tmp_path: Path) -> None:
    canary = "Which of the following is the canary of this test, a sentence that nobody else has?"
    row = {**gpqa_main.SOURCE.sample, "Question": canary}
    made = benchmarks.store("gpqa_main", gpqa_main.SOURCE, tmp_path / "gpqa_main.csv", [row], None, settings)
    (item,) = _stored.items(made.ref)
    assert item["Question"] == canary
    assert _stored.protected(made.ref)
    files = [path for path in (settings.root / "benchmarks").rglob("*") if path.is_file()]
    assert not any(canary[:20].encode() in path.read_bytes() for path in files)
    veiled = (made.ref.path / "items.jsonl.veiled").read_bytes()
    with pytest.raises(InputError, match="isn't a whole veiled file"):
        veil.unveil(veiled[:-1], "items")
    assert veil.unveil(veil.veil(b""), "items") == b""
    assert veil.unveil(veil.veil(b"\0\0x\0"), "items") == b"\0\0x\0"


def test_a_protected_file_that_git_would_commit_is_not_imported(settings: Settings, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    path = jsonl(tmp_path / "gpqa_main.jsonl", [gpqa_main.SOURCE.sample])
    with pytest.raises(InputError, match=r"lies in a git repository that doesn't ignore it"):
        benchmarks.import_files("gpqa_main", path, None, None, settings)
    (tmp_path / ".gitignore").write_text("*.jsonl\n")
    assert benchmarks.import_files("gpqa_main", path, None, None, settings).items == 1


def test_no_question_of_a_protected_benchmark_is_in_the_repository() -> None:
    """A copy of its table would have its canary's column."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        pytest.skip("not a git work tree")
    canary = "Canary " + "String,"  # in two parts: this file isn't a copy
    done = subprocess.run(["git", "-C", str(root), "grep", "-l", "-i", canary], capture_output=True, text=True)
    assert done.stdout == ""


def test_examples_are_seeded_by_group_and_never_items(settings: Settings, tmp_path: Path) -> None:
    def row(number: int, subject: str) -> dict[str, Any]:
        return {"question_id": number, "question": f"Q{number}?", "options": ["1", "2"], "answer": "A", "category": subject}

    items = jsonl(tmp_path / "test.jsonl", [row(1, "law"), row(2, "math")])
    pool = jsonl(tmp_path / "dev.jsonl", [{**row(n, "law" if n % 2 else "math"), "question_id": 100 + n} for n in range(1, 9)])
    made = benchmarks.import_files("mmlu_pro", items, pool, None, settings)
    inputs = Inputs(None, {}, {"mmlu_pro": made.ref})

    def drawn(shots: int, seed: int) -> list[dict[str, Any]]:
        return list(stored(mmlu_pro.Config(shots=shots), inputs)(seed=seed)["examples"])

    assert drawn(2, 0) == drawn(2, 0)
    assert drawn(2, 0) != drawn(2, 1)
    assert [r["group"] for r in drawn(2, 0)] == ["law", "law", "math", "math"]
    assert {"Q1?", "Q2?"}.isdisjoint(r["question"] for r in drawn(3, 0))  # two of the eight are the items under another id
    with pytest.raises(InputError, match=r"shots=4, but its data has only 3 solved examples of group 'law'.*--examples"):
        drawn(4, 0)


def test_a_limit_is_the_same_items_and_part_of_a_larger_one() -> None:
    rows = [{"id": str(i)} for i in range(100)]
    few, more = chosen(rows, 10), chosen(rows, 30)
    assert len(few) == 10
    assert [row for row in more if row in few] == few
    assert few != rows[:10]
    assert chosen(rows, 100) == chosen(rows, None) == rows


def test_an_own_file_is_a_version_that_follows_its_content(settings: Settings, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "own.jsonl", [{"prompt": "1 + 1?", "answer": "2"}])
    config = own.Config(path=str(path), scorer="numeric")
    first = needs.need([config], settings)[config.stored()]
    jsonl(path, [{"prompt": "1 + 2?", "answer": 3}])
    second = needs.need([config], settings)[config.stored()]
    assert first.md5 != second.md5
    assert [item["answer"] for item in _stored.items(second)] == [["3"]]
    jsonl(path, [{"prompt": "1 + 2?", "answer": "three"}])
    with pytest.raises(InputError, match=r"row 1 of own.jsonl: 'answer' is 'three', expected a number"):
        needs.need([config], settings)
    jsonl(path, [{"prompt": "1 + 2?", "answer": ["3", "three"]}])
    with pytest.raises(InputError, match=r"row 1 of own.jsonl: 'answer' is a list, which scorers exact and contains take"):
        needs.need([config], settings)
    with pytest.raises(InputError, match="doesn't exist"):
        needs.need([own.Config(path=str(tmp_path / "none.jsonl"))], settings)


def test_more_examples_than_there_are_is_told_before_a_run(tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "home")
    found = benchmarks.import_files(
        "gsm8k", jsonl(tmp_path / "a.jsonl", ROWS[:3]), jsonl(tmp_path / "b.jsonl", ROWS[2:]), None, home
    )
    assert (found.items, found.examples) == (3, 4)  # the third row is an item as well
    path = jsonl(tmp_path / "ports.jsonl", [{"prompt": "Which port?", "answer": "8080"}])
    mine = own.Config(path=str(path), shots=1)
    for asked in (needs.need, needs.look):
        asked([gsm8k.Config(cot=False, shots=3), gsm8k.Config(shots=8)], home)  # eight are the benchmark's own
        with pytest.raises(InputError, match=r"gsm8k: shots=4, but its data has only 3 solved examples .*benchmark gsm8k --from"):
            asked([gsm8k.Config(cot=False, shots=4)], home)
        with pytest.raises(
            InputError, match=r"ports: shots=1, but its data has only 0 .*; lower shots, or name a file .* 'examples'"
        ):
            asked([mine], home)
    with pytest.raises(ValueError, match=r"num_fewshot=2 is for benchmarks over a dataset's held-out split.*set their 'shots'"):
        harness.Config(num_fewshot=2, benchmarks=[gsm8k.Config()])


def test_another_judge_on_this_machine_is_another_evaluation(tiny_llama: Path, tmp_path: Path) -> None:
    home, judge = Settings(home=tmp_path / "home"), tmp_path / "judge"
    shutil.copytree(tiny_llama, judge)
    config = own.Config(path=str(jsonl(tmp_path / "a.jsonl", [{"prompt": "Q?", "answer": "a"}])), scorer="judge", judge=str(judge))
    node = Node("evaluate.base", "evaluate", "harness", harness.Config(benchmarks=[config]), (), {})
    digests = []
    for _ in range(2):
        found = needs.need([config], home)
        assert found == needs.look([config], home)[0]
        digests.append(input_digests(node, Inputs(None, {}, found)))
        content = bytearray((judge / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (judge / "model.safetensors").write_bytes(content)
    (name,) = found
    assert digests[0][f"judge:{name}"] != digests[1][f"judge:{name}"]
    assert digests[0][f"benchmark:{name}"] == digests[1][f"benchmark:{name}"]
    for asked in (needs.need, needs.look):
        with pytest.raises(InputError, match="there is no model 'nowhere'"):
            asked([config.model_copy(update={"judge": "nowhere"})], home)


def test_own_sets_are_called_like_their_files_and_looking_stores_nothing(tmp_path: Path) -> None:
    home, found = Settings(home=tmp_path / "home"), []
    for folder, answer in (("a", "1"), ("b", "2")):
        (tmp_path / folder).mkdir()
        found.append(own.Config(path=str(jsonl(tmp_path / folder / "my ports.jsonl", [{"prompt": "Q?", "answer": answer}]))))
    assert [config.label for config in found] == ["my-ports", "my-ports"]
    assert own.Config(path="x.jsonl", name="ports").label == "ports"
    with pytest.raises(ValueError, match=r"benchmark 'my-ports' stands twice.*give one a 'name'"):
        harness.Config(benchmarks=found)
    assert needs.look(found, home) == ({}, [])
    assert not home.root.exists()
    kept = needs.need(found, home)
    assert [[item["answer"] for item in _stored.items(ref)] for ref in kept.values()] == [[["1"]], [["2"]]]
    assert all(re.fullmatch("my-ports-[0-9a-f]{8}", name) for name in kept)
    assert needs.look(found, home) == (kept, [])
    jsonl(tmp_path / "a" / "my ports.jsonl", [{"prompt": "Q?", "answer": "3"}])
    assert list(needs.look(found, home)[0].values()) == list(kept.values())[1:], "a changed file is another version"


@pytest.mark.parametrize("settings_", [{"scorer": "judge"}, {"judge": "http://x/v1#m"}, {"form": "likelihood"}, {"rubric": "x"}])
def test_own_settings_that_do_not_go_together(settings_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"judge|rubric|likelihood"):
        own.Config(path="x", **settings_)


def test_tables_need_objects(tmp_path: Path) -> None:
    read: Callable[[Path], Any] = lambda path: list(tables.read(path))  # noqa: E731
    (tmp_path / "a.json").write_text('[{"a": 1}, 2]')
    with pytest.raises(InputError, match=r"row 2 of a.json is no JSON object"):
        read(tmp_path / "a.json")
