"""Corpora as they come, whole and broken, and going through them again."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from components.contamination import scan as scanning
from components.contamination.check import Policy, look, summarise
from components.contamination.corpus import Source, sources
from components.contamination.detectors import exact
from components.contamination.items import Item
from components.contamination.scan import Job, Scanned, scan
from components.contamination.suite import Benchmark
from components.errors import InputError, StageKilled

QUESTION = "Ann walks 3 miles to school on Monday and 5 miles on Tuesday. How far did she walk?"
ROWS = [{"id": f"r{i}", "prompt": f"Question {i}: what is {i} and {i}?", "completion": str(i)} for i in range(300)]
ROWS[170] = {"prompt": f"Q: {QUESTION}", "completion": "8\u2028miles\u0085"}
ITEM = Item("b", "ann", QUESTION)


def lines(rows: list[dict[str, Any]] = ROWS) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def scanned(path: Path, work: Path, size: int = 2000, **given: Any) -> Scanned:
    job = Job({"exact": exact.Config()}, [ITEM], given.pop("fields", ()), work, "fingerprint")
    return scan(sources(path), job, size=size, **given)


def places(found: Scanned) -> list[tuple[str, int]]:
    return [(match.file, match.row) for matches in found.matches.values() for match in matches]


def as_files(folder: Path) -> dict[str, Path]:
    """The same rows in every format."""
    import pyarrow as pa
    from pyarrow import parquet

    plain = [{"prompt": row["prompt"], "completion": row["completion"]} for row in ROWS]
    files = {name: folder / f"rows{name}" for name in (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet", ".txt", ".txt.gz")}
    files[".jsonl"].write_bytes(lines())
    files[".jsonl.gz"].write_bytes(gzip.compress(lines()))
    files[".json"].write_text(json.dumps(ROWS))
    csv = "prompt,completion\n" + "".join(f'"{row["prompt"]}","{row["completion"]}"\n' for row in plain)
    files[".csv"].write_text(csv, newline="")
    parquet.write_table(pa.Table.from_pylist(plain), files[".parquet"])
    text = "\n\n".join(row["prompt"] for row in plain)
    files[".txt"].write_text(text)
    files[".txt.gz"].write_bytes(gzip.compress(text.encode()))
    return files


def test_every_format_names_the_row(tmp_path: Path) -> None:
    for name, path in as_files(tmp_path).items():
        found = scanned(path, tmp_path / f"work{name}")
        ((file, row),) = places(found)
        assert file == path.name
        if "txt" in name:
            assert abs(row - 341) <= 21
        else:
            assert row == 171
            assert found.rows == {path.name: 300}
        assert QUESTION in found.matches["exact", 0][0].text


def test_a_folder_is_all_of_its_files_and_a_dataset_its_training_splits(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "deep").mkdir(parents=True)
    (tmp_path / "corpus" / "deep" / "a.jsonl").write_bytes(lines())
    (tmp_path / "corpus" / "picture.png").write_bytes(b"\x89PNG")
    assert places(scanned(tmp_path / "corpus", tmp_path / "w1")) == [("deep/a.jsonl", 171)]
    data = tmp_path / "data"
    data.mkdir()
    (data / "dataset.json").write_text(json.dumps({"splits": {"sft": {}, "heldout": {}}}))
    for name in ("sft", "heldout"):
        (data / f"{name}.jsonl").write_bytes(lines())
    assert [(source.name, source.split) for source in sources(data)] == [("sft.jsonl", "sft")]


@pytest.mark.parametrize("name", ["nothing", "empty.jsonl", "empty-folder", "model.bin", "lfs.jsonl"])
def test_what_is_no_corpus_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "model.bin").write_bytes(b"x")
    (tmp_path / "lfs.jsonl").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=name):
        scanned(tmp_path / name, tmp_path / "work")


BROKEN: dict[str, tuple[bytes, str, tuple[str, ...]]] = {
    "torn last line": (lines()[:-20], r"row 300 of .*rows.jsonl isn't valid JSON", ()),
    "torn gzip": (gzip.compress(lines(), mtime=0)[:-200], r"rows.jsonl.gz, behind row \d+, isn't a whole gzip file", ()),
    "undecodable": (
        lines(ROWS[:200]) + b'{"prompt": "caf\xe9 au lait"}\n' + lines(),
        r"row 201 of .*rows.jsonl isn't valid UTF-8",
        (),
    ),
    "no such field": (lines() + b'{"text": "x"}\n', r"row 301 of .*rows.jsonl has no 'prompt', only text", ("prompt",)),
    "no text": (lines() + b'{"n": 3}\n', r"row 301 of .*rows.jsonl holds no text", ()),
    "nonsense": (lines() + b"nonsense\n", r"row 301 of .*rows.jsonl isn't valid JSON", ()),
}


@pytest.mark.parametrize(("case", "workers"), [*((case, 1) for case in BROKEN), ("torn last line", 2)])
def test_a_broken_corpus_is_never_clean_and_what_was_found_is_kept(tmp_path: Path, case: str, workers: int) -> None:
    content, message, fields = BROKEN[case]
    path = tmp_path / ("rows.jsonl.gz" if "gzip" in case else "rows.jsonl")
    path.write_bytes(content)
    policy = Policy.model_validate({"methods": [{"method": "exact"}], "require": ["exact"], "fields": fields})
    with pytest.raises(InputError, match=message) as error:
        look([Benchmark("b", (ITEM,))], sources(path), policy, tmp_path / "work", workers=workers)
    assert "mend" in str(error.value)
    kept = [json.loads(line) for line in (tmp_path / "work" / "matches-so-far.jsonl").read_text().splitlines()]
    assert [(match["file"], match["row"]) for match in kept] == [(path.name, 171)]


def test_a_second_run_goes_on_where_the_first_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, work = tmp_path / "rows.jsonl", tmp_path / "work"
    path.write_bytes(lines()[:-20])
    with pytest.raises(InputError):
        scanned(path, work)
    path.write_bytes(lines())
    looked = []
    parse = scanning.parse
    monkeypatch.setattr(scanning, "parse", lambda raw, fields: looked.append(len(raw.data)) or parse(raw, fields))
    found = scanned(path, work)
    assert len(looked) == 1  # only the block that was torn
    assert places(found) == [("rows.jsonl", 171)]
    assert found.rows == {"rows.jsonl": 300}


def test_blocks_processes_and_repetition_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines([*ROWS, *ROWS, ROWS[170]]))
    ways = [
        scanned(path, tmp_path / str(i), size=size, workers=w) for i, (size, w) in enumerate([(500, 1), (9000, 2), (1 << 20, 1)])
    ]
    assert ways[0] == ways[1] == ways[2]
    assert places(ways[0]) == [("rows.jsonl", 171), ("rows.jsonl", 471), ("rows.jsonl", 601)]
    assert ways[0].counts == {("exact", 0): 3}


def test_processes_do_not_need_the_main_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "main.py")
    Path(main.__file__).write_text("raise RuntimeError('this script runs only in the program that began it')")
    monkeypatch.setitem(sys.modules, "__main__", main)
    (tmp_path / "rows.jsonl").write_bytes(lines())
    assert places(scanned(tmp_path / "rows.jsonl", tmp_path / "work", workers=2)) == [("rows.jsonl", 171)]
    assert sys.modules["__main__"] is main


class Deadly:
    def __reduce__(self) -> Any:
        return os._exit, (9,)


def test_a_killed_process_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(lines())
    with pytest.raises(StageKilled, match=r"one of 2 processes .*rows\.jsonl behind row 0 was killed.*run again"):
        scanned(tmp_path / "rows.jsonl", tmp_path / "work", workers=2, fields=(Deadly(),))


def test_a_long_row_is_shown_around_the_match(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines([{"text": "before it. " * 3000 + QUESTION + " behind it." * 3000}]))
    shown = scanned(path, tmp_path / "work").matches["exact", 0][0].text
    assert QUESTION in shown
    assert len(shown) < 2100


def test_what_can_not_be_compared_is_not_clean(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines())
    policy = Policy.model_validate({"methods": [{"method": "exact"}], "require": ["exact"]})
    benchmark = Benchmark("b", (Item("b", "0", "???"), Item("b", "1", "a question that stands nowhere else")))
    found = look([benchmark], [Source(path, path.name)], policy, tmp_path / "work")
    said = summarise([benchmark], found, policy)
    assert (said["state"], said["benchmarks"]["b"]["methods"]["exact"]["state"]) == ("not checked", "not checked")
    assert "1 item holds no word" in said["reason"]
