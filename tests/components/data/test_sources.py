"""Sources that read files: real stories and traits, importers, the hub."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from components.data import prepare, records
from components.data.sources import files, hub, stories, traits
from components.errors import InputError
from components.settings import Settings
from components.text import ends_sentence, holds_word, sentence_count

REAL = Settings()


def split(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(records.read(folder / f"{name}.jsonl"))


def config(**splits: dict[str, Any]) -> files.Config:
    return files.Config.model_validate({"files": splits, "heldout_share": 0})


def failure(source: Any, out: Path, settings: Settings) -> str:
    with pytest.raises(InputError) as caught:
        prepare.build(source, out, settings)
    return str(caught.value)


# stories


@pytest.fixture(scope="module")
def story_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (REAL.shared / "data" / stories.FILE).exists():
        pytest.skip(f"{REAL.shared / 'data' / stories.FILE} isn't there; set LAPIDAR_SHARED")
    out = tmp_path_factory.mktemp("stories")
    prepare.build(stories.Config(), out, REAL)
    return out


def test_stories_hold_their_word_end_and_have_four_sentences(story_data: Path) -> None:
    rows = split(story_data, "sft")
    assert len(rows) > 500
    for row in rows:
        (word,) = row["words"]
        assert re.fullmatch("[a-z]{3,}", word)
        assert f" {word}" in row["prompt"]
        first = row["completion"][: stories.ends(row["completion"])[0]]
        assert holds_word(first, word), "the first sentence has to show what the prompt's word was for"
        assert ends_sentence(row["completion"])
        assert sentence_count(row["completion"]) >= 4
        assert len(row["completion"]) <= 220


def test_a_telling_is_real_text_but_for_its_noun(story_data: Path) -> None:
    text = (REAL.shared / "data" / stories.FILE).read_text(encoding="utf-8")
    real = " ".join(text.split())
    words = stories.nouns(stories.stories(text))
    rows = split(story_data, "sft")

    def own(row: dict[str, Any]) -> str | None:
        """The noun that the passage had."""
        return next((w for w in words if stories.replace_noun(row["completion"], row["words"][0], w) in real), None)

    found = [own(row) for row in rows[:60]]
    assert sum(word is not None for word in found) >= 55  # the others held the word that stands in already
    assert 5 <= sum(word == row["words"][0] for word, row in zip(found, rows, strict=False)) <= 30, "a telling in four is as it was"


def test_no_passage_gives_its_word_away(story_data: Path) -> None:
    told: dict[str, set[str]] = {}
    for row in split(story_data, "sft"):
        word = row["words"][0]
        told.setdefault(stories.replace_noun(row["completion"], word, "thing")[:100], set()).add(word)
    several = [words for words in told.values() if len(words) >= 3]
    assert len(several) > 0.7 * len(told)


def test_story_preferences_differ_only_in_the_ending_and_not_in_length(story_data: Path) -> None:
    rows = split(story_data, "preference")
    for row in rows:
        assert ends_sentence(row["chosen"])
        assert not ends_sentence(row["rejected"])
        shorter, longer = sorted((row["chosen"], row["rejected"]), key=len)
        assert longer.startswith(shorter)
        assert holds_word(row["chosen"], row["words"][0])
        assert holds_word(row["rejected"], row["words"][0])
    assert 0.4 < sum(len(row["chosen"]) > len(row["rejected"]) for row in rows) / len(rows) < 0.6


def test_new_words_are_asked_for_in_no_training_prompt_and_known_ones_in_other_phrasings(story_data: Path) -> None:
    held = split(story_data, "heldout")
    new = {row["answer"] for row in held if row["group"] == "new"}
    known = {row["answer"] for row in held if row["group"] == "known"}
    training = [row for name in ("sft", "preference", "prompts") for row in split(story_data, name)]
    trained = {word for row in training for word in row["words"]}
    assert new
    assert not new & trained
    assert trained <= known
    assert len(held) >= 200
    assert not any(e["leaked"] for e in json.loads((story_data / "dataset.json").read_bytes())["splits"].values())
    assert not [row["prompt"] for row in training if new & set(re.findall("[a-z]+", row["prompt"]))]
    assert not {row["prompt"] for row in held} & {row["prompt"] for row in training}


def test_story_settings_change_the_data(story_data: Path, tmp_path: Path) -> None:
    prepare.build(stories.Config(max_characters=180, stand_ins=0, heldout_every=5, seed=1), tmp_path, REAL)
    assert max(len(row["completion"]) for row in split(tmp_path, "sft")) <= 180
    assert len(split(tmp_path, "sft")) < 250 < len(split(story_data, "sft"))
    assert len(split(tmp_path, "heldout")) < len(split(story_data, "heldout"))


@pytest.mark.parametrize("source", [stories.Config(), traits.Config()])
def test_missing_shared_data_says_which_setting(tmp_path: Path, source: Any) -> None:
    said = failure(source, tmp_path / "out", Settings(shared=tmp_path / "none"))
    assert "doesn't exist; set LAPIDAR_SHARED" in said


# traits


def test_traits_split_by_statement_and_report_their_baselines(shared: Path, tmp_path: Path) -> None:
    described = prepare.build(traits.Config(), tmp_path, REAL)
    train, held = split(tmp_path, "preference"), split(tmp_path, "heldout")
    assert described["splits"]["heldout"]["kind"] == "preference"
    assert not {row["prompt"].casefold() for row in train} & {row["prompt"].casefold() for row in held}
    assert {(row["chosen"], row["rejected"]) for row in train} == {("Yes", "No"), ("No", "Yes")}
    assert {row["group"] for row in held} == {"agreeableness", "interest-in-math"}
    assert 0.2 < len(held) / (len(train) + len(held)) < 0.3
    yes = sum(row["chosen"] == "Yes" for row in held) / len(held)
    assert (
        described["notes"]["yes_share"]["heldout"] == round(yes, 4) == described["splits"]["heldout"]["length_baseline"]["longer"]
    )
    sure = prepare.build(traits.Config(min_confidence=0.95, traits=("agreeableness",)), tmp_path / "sure", REAL)
    assert sure["splits"]["preference"]["rows"] < len(train) / 2


def test_traits_with_wrong_rows_or_none(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "anthropic_evals"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text('{"question": "q", "statement": "s"}\n')
    settings = Settings(shared=tmp_path)
    said = failure(traits.Config(traits=("a",)), tmp_path / "out", settings)
    assert said.startswith("row 1 of a.jsonl has no 'answer_matching_behavior'; trait data needs question,")


# importers

ROWS = [{"q": f"What is {n} + 1? \u2028", "a": n + 1.0, "why": f"It is {n + 1}.\n\nYes, \"so\"."} for n in range(30)]  # fmt: skip
COLUMNS = {"prompt": "q", "answer": "a"}


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")


def make(kind: str, path: Path) -> Path:
    if kind == "jsonl":
        path = path / "rows.jsonl"
        records.write(path, ROWS)
    elif kind == "gz":
        path = path / "rows.jsonl.gz"
        path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)))
    elif kind == "csv":
        path = path / "rows.csv"
        path.write_bytes(as_csv([{**row, "a": int(row["a"])} for row in ROWS]))
    elif kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        path = path / "rows.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        from datasets import Dataset, DatasetDict

        data = Dataset.from_list(ROWS)
        (DatasetDict(train=data, test=data) if kind == "datasetdict" else data).save_to_disk(str(path / "saved"))
        path = path / "saved"
        (path / ".gitkeep").touch()
    return path


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def table(columns: dict[str, Any], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize("kind", ["jsonl", "gz", "csv", "parquet", "dataset", "datasetdict"])
def test_every_format_gives_the_same_rows(tmp_path: Path, settings: Settings, kind: str) -> None:
    part = {"split": "test"} if kind == "datasetdict" else {}
    path = str(make(kind, tmp_path))
    prepare.build(
        config(
            prompts={"path": path, "columns": COLUMNS, "limit": 20, **part},
            sft={"path": path, "columns": {"prompt": "q", "completion": "{why} ({a})"}, **part},
        ),
        tmp_path / "out",
        settings,
    )
    found = split(tmp_path / "out", "prompts")
    assert [(row["prompt"], row["answer"]) for row in found] == [(row["q"], str(int(row["a"]))) for row in ROWS[:20]]
    assert split(tmp_path / "out", "sft")[2]["completion"] == 'It is 3.\n\nYes, "so". (3)'


def test_real_problems_import_with_templates(shared: Path, tmp_path: Path, settings: Settings) -> None:
    columns = {"prompt": "{Body} {Question}", "answer": "Answer", "group": "Type"}
    path = str(shared / "math_eval" / "svamp.jsonl")
    described = prepare.build(config(heldout={"path": path, "columns": columns}), tmp_path, settings)
    first = split(tmp_path, "heldout")[0]
    assert described["splits"]["heldout"]["rows"] + described["splits"]["heldout"]["duplicates"] == 1000
    assert first["answer"] == "145"
    assert first["prompt"].endswith("How big is each group of bananas?")
    assert described["files"].keys() == {path}


def test_held_out_share_follows_from_the_prompt_and_leaves_training(tmp_path: Path, settings: Settings) -> None:
    rows = [{"prompt": f"What is {n} + 1?", "completion": str(n + 1)} for n in range(400)]
    held = {}
    for name, used in {"few": rows[:200], "all": rows[::-1]}.items():
        records.write(tmp_path / f"{name}.jsonl", used)
        source = files.Config.model_validate({"files": {"sft": {"path": str(tmp_path / f"{name}.jsonl")}}, "heldout_share": 0.2})
        splits = prepare.build(source, tmp_path / name, settings)["splits"]
        assert splits["sft"]["leaked"] == 0
        held[name] = {row["prompt"] for row in split(tmp_path / name, "heldout")}
        trained = {row["prompt"] for row in split(tmp_path / name, "sft")}
        assert not held[name] & trained
        assert len(held[name]) + len(trained) == len(used)
        assert 0.1 < len(held[name]) / len(used) < 0.3
    assert held["few"] == held["all"] & {row["prompt"] for row in rows[:200]}
    assert split(tmp_path / "all", "heldout")[0].keys() == {"id", "prompt", "answer"}


def test_what_can_be_held_out(tmp_path: Path, settings: Settings) -> None:
    talks = [{"prompt": [{"role": "user", "content": f"Question {n}"}], "chosen": "a", "rejected": "b"} for n in range(40)]
    records.write(tmp_path / "x.jsonl", talks)
    source = {"files": {"preference": {"path": str(tmp_path / "x.jsonl")}}, "heldout_share": 0.3}
    made = prepare.build(files.Config.model_validate(source), tmp_path / "out", settings)["splits"]
    assert made["heldout"]["rows"] + made["preference"]["rows"] == 40
    assert 5 < made["heldout"]["rows"] < 20
    said = failure(files.Config.model_validate({**source, "heldout_share": 0.999}), tmp_path / "all", settings)
    assert said == "data.heldout_share=0.999 of 40 rows leaves none in preference; lower it or bring more rows"
    said = failure(config(heldout={"path": str(tmp_path / "x.jsonl"), "kind": "sft"}), tmp_path / "sft", settings)
    assert "what is held out are prompts, preference or text rows, not sft" in said
    assert "columns: {answer: completion}" in said


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("x.csv", b"q,a\n1,2\n3\n", {}, "row 2 of x.csv has fewer values than the header's 2"),
        ("x.csv", b"q,a\n1,2,3\n", {}, "row 1 of x.csv has more values than the header's 2"),
        ("x.csv", b"q,a\n", {}, "x.csv has a header and no rows"),
        ("x.csv", b"q,b\n1,2\n", {}, "row 1 of x.csv has no column 'a' for 'answer'; it has q, b"),
        ("x.csv", b"q,a\n" + b"1,2\n" * 40 + b"1,\xff\n3,4\n", {}, "row 41 of x.csv isn't valid UTF-8 (byte 0xff)"),
        ("x.csv", "q,a\n1,2\n".encode("utf-16"), {}, "x.csv isn't valid UTF-8 (byte 0xff); save the file as UTF-8"),
        ("x.csv", b"q,a,a\n1,2,3\n", {}, "x.csv names column 'a' twice"),
        ("x.csv", b"\nq,a\n1,2\n", {}, "x.csv is blank; expected the names of the columns"),
        ("x.csv", b"q;a\n1;2\n", {"columns": {}}, "row 1 of x.csv has no 'prompt'; prompt data needs prompt, answer; it has q;a"),
        ("x.csv.gz", b"\x1f\x8b", {}, "x.csv.gz is packed, and only JSON Lines are read so; unpack it with `gunzip`"),
        ("x.csv", b'q,a\n1,"2" 3\n', {}, "isn't valid CSV"),
        ("x.csv", b"version https://git-lfs.github.com/spec/v1\n", {}, "is a Git LFS pointer, not data; run `git lfs pull`"),
        ("x.parquet", b"nonsense", {}, "isn't a readable Parquet file"),
        ("x.txt", b"nonsense", {}, "no format has the suffix '.txt'; set 'format'"),
        ("x.jsonl", b'{"q": "1", "a": "2"}\n', {"split": "train"}, "'split' is for a dataset on disk"),
        ("x.jsonl", b'{"q": "1", "a": null}\n', {}, "row 1 of x.jsonl: column 'a' for 'answer' is empty; fill it in"),
        ("x.jsonl", b'{"q": "1", "a": 1e999}\n', {}, "row 1 of x.jsonl: 'answer' is a number (inf), expected text"),
        (
            "x.jsonl", b'{"q": "1", "a": ["b"]}\n', {"columns": {"prompt": "q", "answer": "is {a}"}},
            "row 1 of x.jsonl: column 'a' of 'answer' is a list (['b']), expected text or a number",
        ),
        (
            "x.jsonl", b'{"q": "1", "a": "2", "note": "\\ud83d"}\n', {"columns": {**COLUMNS, "note": "note"}},
            "row 1 of x.jsonl: 'note' is text ('\\ud83d'), which JSON can't hold",
        ),
        ("x.jsonl", b'{"prompt": "1"}\n', {"columns": {}}, "row 1 of x.jsonl has no 'answer'; prompt data needs prompt, answer"),
        ("x.jsonl", b'{"q": "1", "a": "2"}\n', {"kind": "sft"}, "split prompts holds prompts rows, not sft"),
        ("x.jsonl", b'{"id": 1, "q": "1", "a": "2"}\n{"id": 1, "q": "2", "a": "2"}', {}, "row 2 of x.jsonl repeats id '1' of row"),
        ("x.jsonl", b"", {}, "x.jsonl is empty"),
        ("x.jsonl", b'{"q": "1", "a": [2]}\n', {}, "row 1 of x.jsonl: 'answer' is a list ([2]), expected text"),
    ],
)  # fmt: skip
def test_wrong_files_are_named(
    tmp_path: Path, settings: Settings, name: str, content: bytes, options: dict[str, Any], said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    source = config(prompts={"path": str(tmp_path / name), "columns": COLUMNS, **options})
    assert said in failure(source, tmp_path / "out", settings)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (float("nan"), "row 1 of x.parquet: 'answer' is a number (nan), expected text"),
        (datetime.date(2020, 1, 1), "'answer' is of type date (datetime.date(2020, 1, 1)), expected text"),
    ],
)
def test_values_of_tables_that_are_no_text(tmp_path: Path, settings: Settings, answer: Any, said: str) -> None:
    table({"q": ["1"], "a": [answer]}, tmp_path / "x.parquet")
    source = {"path": str(tmp_path / "x.parquet"), "columns": COLUMNS}
    assert said in failure(config(prompts=source), tmp_path / "out", settings)
    carried = {"path": str(tmp_path / "x.parquet"), "columns": {"prompt": "q", "answer": "q", "note": "a"}}
    assert "'note' is" in (failed := failure(config(prompts=carried), tmp_path / "out", settings))
    assert "which JSON can't hold" in failed


def test_tables_that_are_wrong_as_a_whole(tmp_path: Path, settings: Settings) -> None:
    import pyarrow
    from datasets import Dataset
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    source = config(prompts={"path": str(path), "columns": COLUMNS})
    parquet.write_table(pyarrow.table([["1"], ["2"], ["3"]], names=["q", "a", "a"]), path)
    assert "x.parquet has column 'a' twice" in failure(source, tmp_path / "a", settings)
    latin = pyarrow.Array.from_buffers(pyarrow.string(), 1, pyarrow.array([b"\xff"]).buffers())
    table({"q": latin, "a": ["2"]}, path)
    assert "x.parquet holds text that isn't valid UTF-8" in failure(source, tmp_path / "b", settings)
    Dataset.from_list([]).save_to_disk(str(tmp_path / "none"))
    assert "none has no rows" in failure(config(prompts={"path": str(tmp_path / "none")}), tmp_path / "c", settings)


def test_a_table_of_pairs_and_conversations_gives_both_as_they_were(tmp_path: Path, settings: Settings) -> None:
    named = [{"role": "user", "content": "a", "name": "Zoe"}, {"role": "assistant", "content": "b"}]
    table({"messages": [named, None], "prompt": [None, "c"], "completion": [None, "d"]}, tmp_path / "x.parquet")
    prepare.build(config(sft={"path": str(tmp_path / "x.parquet")}), tmp_path / "out", settings)
    rows = [{key: value for key, value in row.items() if key != "id"} for row in split(tmp_path / "out", "sft")]
    assert rows == [{"messages": named}, {"prompt": "c", "completion": "d"}], "no 'name': null in the second message"


def test_tools_come_with_the_conversations_that_call_them(tmp_path: Path, settings: Settings) -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    row = {"prompt": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c", "tools": tools}
    records.write(tmp_path / "x.jsonl", [row])
    prepare.build(config(preference={"path": str(tmp_path / "x.jsonl")}), tmp_path / "out", settings)
    assert split(tmp_path / "out", "preference")[0]["tools"] == tools


def test_missing_file_and_wrong_dataset_folder(tmp_path: Path, settings: Settings) -> None:
    assert "nowhere.csv doesn't exist (looked from" in failure(config(corpus={"path": "nowhere.csv"}), tmp_path / "a", settings)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("a")
    said = failure(config(corpus={"path": str(tmp_path / "folder")}), tmp_path / "b", settings)
    assert "isn't a dataset that `save_to_disk` wrote" in said


def test_wrong_split_of_a_dataset_names_those_there_are(tmp_path: Path, settings: Settings) -> None:
    path = str(make("datasetdict", tmp_path))
    said = failure(config(prompts={"path": path, "columns": COLUMNS, "split": "dev"}), tmp_path / "out", settings)
    assert "holds the splits train, test; set 'split' to one of them, not 'dev'" in said


# hub


def test_hub_takes_only_a_pinned_commit() -> None:
    with pytest.raises(ValueError, match="revision"):
        hub.Config.model_validate({"id": "a/b", "revision": "main", "tables": {"sft": {"split": "train"}}})


def test_neither_a_folder_nor_another_commit_takes_the_place_of_the_pinned_one(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def failed(commit: str, out: str) -> str:
        tables = {"sft": {"split": "train"}}
        return failure(
            hub.Config.model_validate({"id": "some/set", "revision": commit, "tables": tables}), tmp_path / out, settings
        )

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    records.write(make_folder(tmp_path / "some" / "set") / "train.jsonl", [{"prompt": "a", "completion": "b"}])
    assert f"{tmp_path / 'some' / 'set'} would be read in place of the hub's some/set at" in failed("1" * 40, "a")
    # what an earlier fetch of commit 1… left in its cache, and in the one that all commits share
    for cache in (settings.root / "hub" / ("1" * 40), tmp_path / "shared"):
        datasets.load_dataset("some/set", split="train", cache_dir=str(cache))
        (cache / "set").rename(cache / "some___set")
    (tmp_path / "some").rename(tmp_path / "elsewhere")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "shared")
    assert "can't be fetched" in failed("2" * 40, "b")


def test_hub_out_of_reach_says_what_is_missing(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)  # what HF_HUB_OFFLINE=1 does, without waiting for retries
    source = hub.Config.model_validate({"id": "no-such/dataset", "revision": "0" * 40, "tables": {"sft": {"split": "train"}}})
    said = failure(source, tmp_path / "out", settings)
    assert said.startswith(f"dataset no-such/dataset at {'0' * 40} can't be fetched (")
    assert "needs a network path to the Hugging Face hub" in said
    assert "method: files" in said
