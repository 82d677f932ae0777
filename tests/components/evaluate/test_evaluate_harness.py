"""The evaluation stage on a model whose answers are known."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components import events
from components.artifacts import DatasetRef, Inputs, ModelRef, RecordKind, Split
from components.benchmarks import preference_pairs, stories, wordproblems
from components.comparison import compare, read_items
from components.data import records
from components.errors import InputError
from components.evaluate.harness import Config, run
from components.events import EventWriter
from components.stage import Stage
from components.statistics import rate

QUESTIONS = [f"Tom has {a} apples and buys {b}. How many?" for a, b in ((1, 2), (3, 4), (2, 6), (5, 3))]
ANSWERS = [
    "1 + 2 = 3. The answer is 3.",
    "3 + 4 = 7. The answer is 7.",
    "2 + 6 = 8. The answer is 8.",
    "Tom has many apples.",  # no final answer
]

HELDOUT = [
    {"id": "a", "prompt": QUESTIONS[0], "answer": "3", "group": "seen", "operands": [1, "+", 2]},
    {"id": "b", "prompt": QUESTIONS[1], "answer": "7", "group": "seen"},
    {"id": "c", "prompt": QUESTIONS[2], "answer": "9", "group": "unseen"},  # the model says 8
    {"id": "d", "prompt": QUESTIONS[3], "answer": "8", "group": "unseen"},  # the model gives no answer
]

MakeDataset = Callable[[dict[str, tuple[RecordKind, list[dict[str, Any]]]]], DatasetRef]


@pytest.fixture(scope="session")
def memorised(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """The tiny Llama, trained until it says ``ANSWERS`` to ``QUESTIONS``."""
    import torch

    from components.models.load import load_model, load_tokenizer
    from components.training.rows import sft_row

    torch.manual_seed(0)
    model, _ = load_model(ModelRef(tiny_llama, None, ""), trainable=True)
    tokenizer = load_tokenizer(tiny_llama)
    pairs = zip(QUESTIONS, ANSWERS, strict=True)
    rows = [sft_row(tokenizer, {"prompt": q, "completion": a}, "row") for q, a in pairs]
    width = max(len(row.input_ids) for row in rows)
    ids = torch.tensor([row.input_ids + [0] * (width - len(row.input_ids)) for row in rows])
    trained = torch.tensor([row.completion_mask + [0] * (width - len(row.completion_mask)) for row in rows]).bool()
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=5e-3)
    for _ in range(80):
        loss = model(input_ids=ids, labels=ids.masked_fill(~trained, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
    folder = tmp_path_factory.mktemp("memorised") / "model"
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return ModelRef(folder, None, "memorised")


@pytest.fixture
def dataset(tmp_path: Path) -> MakeDataset:
    """Writes a dataset version from ``{split: (kind, rows)}``."""

    def make(splits: dict[str, tuple[RecordKind, list[dict[str, Any]]]]) -> DatasetRef:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        written = {}
        for name, (kind, rows) in splits.items():
            file = folder / f"{name}.jsonl"
            records.write(file, rows)
            written[name] = Split(name, kind, len(rows), hashlib.sha256(file.read_bytes()).hexdigest())  # type: ignore[arg-type]
        return DatasetRef(folder, "", written, folder, None)

    return make


@pytest.fixture
def new_stage(tmp_path: Path) -> Callable[..., Stage]:
    """Empty stages with a seed, numbered folders."""
    made = []

    def make(seed: int = 0) -> Stage:
        folder = tmp_path / f"stage{len(made)}"
        made.append(folder)
        (folder / "out").mkdir(parents=True)
        (folder / "work").mkdir()
        return Stage(folder / "out", folder / "work", seed, "cpu", EventWriter(folder / "events.jsonl"))

    return make


def metrics(stage: Stage) -> Any:
    return json.loads((stage.out / "metrics.json").read_bytes())


def test_word_problems(memorised: ModelRef, dataset: MakeDataset, new_stage: Callable[..., Stage]) -> None:
    data = dataset({"heldout": ("prompts", HELDOUT)})
    stage = new_stage()
    run(Config(), Inputs(data, {"model": memorised}), stage)
    items = read_items(stage.out)
    assert [item["id"] for item in items] == ["a", "b", "c", "d"]
    assert [item["response"].strip() for item in items] == ANSWERS
    assert [item["scores"]["accuracy"] for item in items] == [1, 1, 0, 0]
    assert [item["parsed"] for item in items] == [True, True, True, False]
    assert {item["truncated"] for item in items} == {False}
    about = {"benchmark", "id", "group", "prompt", "answer", "target"}
    assert items[2].keys() == about | {"response", "extracted", "scores", "truncated", "parsed", "shares"}
    assert (items[2]["prompt"], items[2]["answer"], items[2]["group"]) == (QUESTIONS[2], "9", "unseen")
    found = metrics(stage)["wordproblems"]
    assert set(found) == {f"{m}{g}" for m in ("accuracy", "truncated", "unparsed") for g in ("", "@seen", "@unseen")}
    expected = rate(2, 4)
    assert found["accuracy"] == {"value": 0.5, "low": expected.low, "high": expected.high, "n": 4}
    assert (found["accuracy@seen"]["value"], found["accuracy@unseen"]["value"]) == (1.0, 0.0)
    assert (found["unparsed"]["value"], found["unparsed@unseen"]["value"]) == (0.25, 0.5)
    log, _ = events.read(stage.events.path)
    assert {"progress", "text"} <= {event["kind"] for event in log}
    assert {f.name for f in stage.out.iterdir()} == {"items.jsonl", "metrics.json", "spec.json"}


def test_truncated_answers_are_counted(memorised: ModelRef, dataset: MakeDataset, new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    data = dataset({"heldout": ("prompts", HELDOUT)})
    run(Config(benchmarks=[wordproblems.Config(max_new_tokens=3)]), Inputs(data, {"model": memorised}), stage)
    assert metrics(stage)["wordproblems"]["truncated"]["value"] == 1
    assert all(item["truncated"] and not item["parsed"] for item in read_items(stage.out))


def test_runs_are_repeatable_and_paired(
    memorised: ModelRef, tiny_llama: Path, dataset: MakeDataset, new_stage: Callable[..., Stage]
) -> None:
    data = dataset({"heldout": ("prompts", HELDOUT)})
    trained, again, base = new_stage(), new_stage(), new_stage()
    for stage, model in ((trained, memorised), (again, memorised), (base, ModelRef(tiny_llama, None, "base"))):
        run(Config(batch_tokens=1 if stage is again else 32768), Inputs(data, {"model": model}), stage)
    for name in ("items.jsonl", "metrics.json", "spec.json"):
        assert (trained.out / name).read_bytes() == (again.out / name).read_bytes()
    (found,) = compare(read_items(trained.out), read_items(base.out), ("accuracy",))
    assert (found.benchmark, found.difference.value) == ("wordproblems", 0.5)
    assert metrics(base)["wordproblems"]["unparsed"]["value"] == 1


def test_stories(memorised: ModelRef, dataset: MakeDataset, new_stage: Callable[..., Stage]) -> None:
    """``Tom has many apples.`` is one finished sentence with three of its words; the others have two sentences."""
    words = [["answer"], ["apples"], ["eight"], ["many", "apples"]]
    rows = [{"id": str(i), "prompt": q, "answer": w[0], "words": w} for i, (q, w) in enumerate(zip(QUESTIONS, words, strict=True))]
    data = dataset({"heldout": ("prompts", rows)})
    stage = new_stage()
    run(Config(benchmarks=[stories.Config(temperature=0)]), Inputs(data, {"model": memorised}), stage)
    scores = [item["scores"] for item in read_items(stage.out)]
    assert [s["required_word"] for s in scores] == [1, 0, 0, 1]
    assert [s["ends_sentence"] for s in scores] == [1, 1, 1, 1]
    assert [s["four_sentences"] for s in scores] == [0, 0, 0, 0]
    assert metrics(stage)["stories"]["required_word"]["value"] == 0.5


def test_sampled_stories_follow_the_seed(
    stories260k: Path, tmp_path: Path, dataset: MakeDataset, new_stage: Callable[..., Stage]
) -> None:
    from components.models.chat import choose_template
    from components.models.load import load_tokenizer

    folder = tmp_path / "stories"
    folder.mkdir()
    for file in stories260k.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = load_tokenizer(folder)
    choose_template(tokenizer, "plain")
    tokenizer.save_pretrained(str(folder))
    rows = [{"prompt": f'Write a story with the word "{w}".', "answer": w, "words": [w]} for w in ("dog", "cat", "ball")]
    inputs = Inputs(dataset({"heldout": ("prompts", rows)}), {"model": ModelRef(folder, None, "")})
    one, same, other = new_stage(1), new_stage(1), new_stage(2)
    for stage in (one, same, other):
        run(Config(benchmarks=[stories.Config(max_new_tokens=40)]), inputs, stage)
    assert (one.out / "items.jsonl").read_bytes() == (same.out / "items.jsonl").read_bytes()
    assert (one.out / "items.jsonl").read_bytes() != (other.out / "items.jsonl").read_bytes()
    assert [item["id"] for item in read_items(one.out)] == ["1", "2", "3"]
    assert all(item["truncated"] and not item["scores"]["ends_sentence"] for item in read_items(one.out))


def test_preference_pairs(memorised: ModelRef, dataset: MakeDataset, new_stage: Callable[..., Stage]) -> None:
    """The model prefers what it learnt; on the last row, that is the rejected answer."""
    rows = [
        {"id": str(i), "prompt": q, "chosen": a, "rejected": "No idea"}
        for i, (q, a) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
    ]
    rows[3] = {**rows[3], "chosen": "No idea", "rejected": ANSWERS[3]}
    data = dataset({"heldout": ("preference", rows)})
    stage = new_stage()
    run(Config(benchmarks=[preference_pairs.Config()]), Inputs(data, {"model": memorised}), stage)
    found = metrics(stage)["preference_pairs"]
    assert found["accuracy"]["value"] == 0.75
    assert found["prefer_longer"]["value"] == 0.75
    assert found["prefer_shorter"]["value"] == 0.25
    assert found["truncated"]["value"] == found["unparsed"]["value"] == 0
    assert [item["response"] for item in read_items(stage.out)] == ANSWERS
    assert read_items(stage.out)[3]["answer"] == "No idea"


def test_a_conversation_stands_before_its_answers(memorised: ModelRef, dataset: MakeDataset, tmp_path: Path) -> None:
    from components.evaluate._measure import evaluate
    from components.inference.engine import Engine
    from components.inference.harness import EngineLM
    from components.models.chat import prompt_text
    from components.models.load import load_model

    talk = [("system", "Be brief."), ("user", "Hello."), ("assistant", "Hello."), ("user", QUESTIONS[1])]
    turns = [{"role": role, "content": content} for role, content in talk]
    rows = [
        {"id": "one", "prompt": QUESTIONS[0], "chosen": ANSWERS[0], "rejected": "No idea"},
        {"id": "two", "prompt": turns, "chosen": ANSWERS[1], "rejected": "No idea"},
    ]
    model, tokenizer = load_model(memorised)
    asked: list[tuple[str, str]] = []

    class Listening(EngineLM):
        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            asked.extend(request.args for request in requests)
            return super().loglikelihood(requests)

    inputs, lm = Inputs(dataset({"heldout": ("preference", rows)}), {"model": memorised}), Listening(Engine(model, tokenizer))
    items, _ = evaluate(Config(), preference_pairs.Config(), inputs, lm, 0, tmp_path)
    one, two = (prompt_text(tokenizer, messages) for messages in ([{"role": "user", "content": QUESTIONS[0]}], turns))
    assert [context for context, _ in asked] == [one, one, two, two]
    assert asked[2][0] + asked[2][1] == tokenizer.apply_chat_template(
        [*turns, {"role": "assistant", "content": ANSWERS[1]}], tokenize=False
    ).removesuffix("\n")
    assert [item["prompt"] for item in items] == [QUESTIONS[0], f"Be brief.\nHello.\nHello.\n{QUESTIONS[1]}"]


def test_few_shot_examples_come_before_every_item(memorised: ModelRef, dataset: MakeDataset, tmp_path: Path) -> None:
    from components.evaluate._measure import evaluate
    from components.inference.engine import Engine
    from components.inference.harness import EngineLM
    from components.models.chat import prompt_text
    from components.models.load import load_model

    sft = [{"id": str(i), "prompt": f"Say {i}.", "completion": f"The answer is {i}."} for i in range(9)]
    data = dataset({"heldout": ("prompts", HELDOUT), "sft": ("sft", sft)})
    config = Config(num_fewshot=2)
    assert config.splits() == ("sft",)
    assert Config().splits() == ()
    model, tokenizer = load_model(memorised)
    prompts: list[str] = []

    class Listening(EngineLM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            prompts.extend(request.args[0] for request in requests)
            return super().generate_until(requests)

    inputs, lm = Inputs(data, {"model": memorised}), Listening(Engine(model, tokenizer))
    for number, seed in enumerate((0, 0, 5)):
        evaluate(config, config.benchmarks[0], inputs, lm, seed, tmp_path / str(number))
    first, again, other = prompts[:4], prompts[4:8], prompts[8:]
    assert first == again
    assert first != other
    for prompt, row in zip(first, HELDOUT, strict=True):
        assert prompt.count("Say ") == 2
        assert prompt.endswith(
            prompt_text(tokenizer, [{"role": "user", "content": row["prompt"]}]).removeprefix(tokenizer.bos_token)
        )
        assert prompt.split("Question: Tom")[0] == first[0].split("Question: Tom")[0]
    with pytest.raises(InputError, match="has only 9 rows"):
        evaluate(Config(num_fewshot=10), config.benchmarks[0], Inputs(data, {}), lm, 0, tmp_path)


@pytest.mark.parametrize(
    ("rows", "kind", "benchmark", "message"),
    [
        ([{"prompt": "x " * 400, "answer": "1"}], "prompts", wordproblems.Config(), r"1 of 1 prompts don't fit"),
        ([{"prompt": "x", "answer": "one"}], "prompts", wordproblems.Config(), "'one' is no number"),
        ([{"prompt": "x", "answer": "dog"}], "prompts", stories.Config(), "has no 'words'"),
        (
            [{"prompt": "x", "answer": "1"}],
            "prompts",
            preference_pairs.Config(),
            "is of kind 'prompts', this benchmark needs 'preference'",
        ),
    ],
)
def test_data_that_a_benchmark_cannot_use(
    memorised: ModelRef, dataset: MakeDataset, new_stage: Callable[..., Stage], rows: Any, kind: Any, benchmark: Any, message: str
) -> None:
    inputs = Inputs(dataset({"heldout": (kind, rows)}), {"model": memorised})
    with pytest.raises(InputError, match=message):
        run(Config(benchmarks=[benchmark]), inputs, new_stage())


def test_a_benchmark_may_stand_once() -> None:
    with pytest.raises(ValidationError, match="stands twice"):
        Config(benchmarks=[{"method": "stories"}, {"method": "stories", "temperature": 0}])  # type: ignore[list-item]
    dumped = Config(benchmarks=[{"method": "stories", "max_new_tokens": 7}]).model_dump(mode="json")  # type: ignore[list-item]
    assert dumped["benchmarks"][0]["max_new_tokens"] == 7
    assert Config.model_validate(dumped).model_dump(mode="json") == dumped


OFFLINE = """
import sys
from pathlib import Path

root = Path(sys.argv[1])


def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise PermissionError(f"the evaluation asked for the network: {arguments}")
    if event == "open" and isinstance(arguments[0], str) and arguments[2] & 0o1103:  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
        path = Path(arguments[0]).absolute()
        # .pyc files of imports; semaphores and shared memory are no files of ours
        if root not in path.parents and "__pycache__" not in path.parts and path.parts[1] not in ("dev", "proc"):
            raise PermissionError(f"the evaluation writes {path}")


from components.artifacts import DatasetRef, Inputs, ModelRef, Split
from components.evaluate.harness import Config, run
from components.events import EventWriter
from components.stage import Stage
import lm_eval.evaluator, torch

sys.addaudithook(refuse)
data = DatasetRef(root, "", {"heldout": Split("heldout", "prompts", 1, "")}, root, None)
stage = Stage(root / "out", root, 0, "cpu", EventWriter(root / "events.jsonl"))
run(Config(), Inputs(data, {"model": ModelRef(Path(sys.argv[2]), None, "")}), stage)
"""


@pytest.mark.slow
def test_nothing_is_fetched_or_written_elsewhere(tiny_llama: Path, tmp_path: Path) -> None:
    """In a fresh process with an empty home: no network, no cache outside the stage's folders."""
    (tmp_path / "out").mkdir()
    records.write(tmp_path / "heldout.jsonl", HELDOUT)
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path)}
    code = [sys.executable, "-c", OFFLINE, str(tmp_path), str(tiny_llama)]
    done = subprocess.run(code, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(read_items(tmp_path / "out")) == 4
    assert not [f for f in home.rglob("*") if f.is_file()]
