"""Wrong input through the real command line: exit code 2, a sentence that helps, and nothing lost."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from components.settings import Settings
from flows import cli

Cli = Callable[..., tuple[int, str]]
TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"
ROWS = [{"prompt": f"How much is {i} and 1?", "completion": f"{i} and 1 is {i + 1}."} for i in range(8)]
FILES = "name: mine\ndata: {method: files, files: {sft: {path: rows.jsonl}}, heldout_share: 0}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all: making its DVC workspace takes a second."""
    return tmp_path_factory.mktemp("wrong") / "home"


@pytest.fixture
def lapidar(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process, in an empty folder; gives its exit code and what it said on standard error."""
    monkeypatch.setenv("LAPIDAR_HOME", str(home))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lapidar", *arguments])
        capsys.readouterr()
        code = cli._run(False)
        said = capsys.readouterr()
        assert code != 2 or not said.out
        return code, said.err

    return run


def write(content: str | bytes, name: str = "recipe.yaml") -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def lines(rows: list[object]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\ndata: {method: wordproblems}\nsft:\n  lrr: 1.0\n", "recipe.yaml:4: unknown key 'sft.lrr'; did you mean 'lr'?"),
        ("name: a\ndata: {method: wordproblem}\n", "recipe.yaml:2: data has no method 'wordproblem'; did you mean 'wordproblems'?"),
        (
            "name: a\ndata: {method: wordproblems}\nsft:\n  lr: fast\n",
            "recipe.yaml:4: sft.lr='fast': input should be a valid number",
        ),
        ("name: a\ndata: {method: wordproblems}\nsft: {lr: -1}\n", "recipe.yaml:3: sft.lr=-1: input should be greater than 0"),
        ("name: a\n", "recipe.yaml:1: data is missing"),
        ("name: a\nname: b\n", "recipe.yaml:2: key 'name' stands twice (first in line 1)"),
        ("name: [\n", "recipe.yaml isn't valid YAML"),
        ("- 1\n", "recipe.yaml holds no recipe"),
        (b"name: \xff\n", "recipe.yaml isn't UTF-8 (byte 6)"),
        ("name: a\ndata: {method: wordproblems}\nmodel: {source: a/b, revision: main}\n", "model.revision='main'"),
        ("name: a\ndata: {method: wordproblems}\nmodel: {source: org/model}\n", "needs model.revision, the 40-hex commit"),
    ],
)
def test_recipes(lapidar: Cli, text: str | bytes, said: str) -> None:
    code, error = lapidar("plan", write(text))
    assert (code, said in error) == (2, True), error
    assert lapidar("run", "recipe.yaml") == (2, error)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_more_examples_than_a_benchmark_has(lapidar: Cli, command: str) -> None:
    write(lines([{"prompt": "Q?", "answer": "a"}]), "own.jsonl")
    recipe = "name: a\ndata: {method: wordproblems}\nevaluate: {benchmarks: [{method: own, path: own.jsonl, shots: 1}]}\n"
    code, error = lapidar(command, write(recipe))
    assert (code, "own: shots=1, but its data has only 0 solved examples" in error) == (2, True), error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "quickstrat"], "did you mean 'quickstart'?"),
        (["plan", "quickstart", "sft.lr"], "isn't of the form section.key=value"),
        (["plan", "quickstart", "align.7.beta=1"], "align is a list of 2; use an index below that"),
        (["plan", "quickstart", "sft.lr=0"], "override: sft.lr=0: input should be greater than 0"),
        (["run", "quickstart", "--until", "sftt"], "the recipe has no stage 'sftt'; its stages are data, base,"),
        (["run", "quickstart", "--from", "grpo", "--until", "sft"], "--until sft lies before --from grpo"),
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument 'recipe'"),
        (["run", "quickstart", "--fast"], "No such option: --fast"),
        (["deploy", "quickstart"], "say one of --cron, --every, --on-new-data, --pause, --remove; none is given"),
        (["deploy", "quickstart", "--pause", "--remove"], "--pause and --remove are given"),
        (["deploy", "quickstart", "--every", "soon"], "--every 'soon' isn't an interval"),
        (["deploy", "quickstart", "--every", "1s"], "the least is 5s"),
        (["deploy", "--every", "1h"], "--every needs a recipe"),
        (["deploy", "quickstart", "--every", "1h"], "start them: `lapidar up`"),
        (["deploy"], "start them: `lapidar up`"),
        (["deploy", "quickstrat", "--every", "1h"], "did you mean 'quickstart'?"),
    ],
)
def test_usage(lapidar: Cli, arguments: list[str], said: str) -> None:
    code, error = lapidar(*arguments)
    assert (code, said in error) == (2, True), error


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "rows.jsonl doesn't exist"),
        (b"", "rows.jsonl is empty"),
        (b"\n\n", "rows.jsonl is empty; expected one JSON object a line"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "rows.jsonl is a Git LFS pointer, not data"),
        (lines([*ROWS[:2], {"prompt": "only"}]), "row 3 of rows.jsonl has no 'completion'"),
        (
            lines([ROWS[0], {"prompt": "a", "completion": ["b"]}]),
            "row 2 of rows.jsonl: 'completion' is a list (['b']), expected text",
        ),
        (lines([ROWS[0], {"prompt": "a", "completion": " "}]), "row 2 of rows.jsonl: 'completion' is blank"),
        (lines([ROWS[0], ["a"]]), "row 2 of rows.jsonl is a list"),
        (lines(ROWS[:1]) + b'{"prompt": "a", \n', "row 2 of rows.jsonl isn't valid JSON"),
        (lines(ROWS[:1]) + b'{"prompt": "\xff"}\n', "row 2 of rows.jsonl isn't valid UTF-8 (byte 0xff at 12)"),
        (b'{"messages": [{"role": "wizard", "content": "a"}]}\n', "'messages.0.role' is 'wizard'; expected one of system, user"),
    ],
)
def test_data(lapidar: Cli, home: Path, content: bytes | None, said: str) -> None:
    recipe = write(FILES)
    if content is not None:
        write(content, "rows.jsonl")
    before = sorted(home.glob("data/files-*"))
    code, error = lapidar("data", "build", recipe)
    assert (code, said in error) == (2, True), error
    assert sorted(home.glob("data/files-*")) == before
    if content is not None:
        assert Path("rows.jsonl").read_bytes() == content


def test_a_missing_column_is_named(lapidar: Cli) -> None:
    write("question,answer\n1,2\n", "rows.csv")
    columns = "columns: {prompt: question, completion: solution}"
    code, error = lapidar("data", "build", write(FILES.replace("path: rows.jsonl", f"path: rows.csv, {columns}")))
    assert code == 2
    assert "solution" in error
    assert "question" in error


def test_line_separators_inside_strings_are_fine_and_a_row_without_a_trained_token_is_not(lapidar: Cli, tiny_llama: Path) -> None:
    text = "one\u2028two\u0085three"
    write(lines([{**ROWS[0], "completion": text}, *ROWS[1:]]), "rows.jsonl")
    recipe = write(f"{FILES}model: {{source: {tiny_llama}}}\nsft: {{}}\n")
    assert lapidar("data", "build", recipe) == (0, "")
    assert lapidar("data", "validate", recipe) == (0, "")
    assert lapidar("plan", recipe) == (0, "")
    silent = "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
    code, error = lapidar("plan", recipe, f"model.chat_template={Path(write(silent, 'silent.jinja')).absolute()}")
    assert code == 2
    assert "row 1 of sft.jsonl has no trained token: the chat template leaves nothing of the answer" in error
    code, error = lapidar("plan", recipe, "sft.max_length=4")
    assert code == 2
    assert "every row of sft.jsonl is longer than 4 tokens" in error
    code, error = lapidar("plan", recipe, "model.chat_template=missing.jinja")
    assert code == 2
    assert "model.chat_template='missing.jinja': is neither 'auto' nor 'plain' nor a file" in error
    code, error = lapidar("plan", f"{recipe}", "align=[{method: dpo}]", "sft=null")
    assert code == 2
    assert "the dataset has no split 'preference', only sft" in error


def test_prompts_that_are_all_too_long_name_the_setting(lapidar: Cli, tiny_llama: Path) -> None:
    write(lines([{"prompt": "How much is 1 and 1?", "answer": "2"}]), "rows.jsonl")
    recipe = write(f"{FILES.replace('sft', 'prompts')}model: {{source: {tiny_llama}}}\n")
    assert lapidar("data", "build", recipe) == (0, "")
    code, error = lapidar("plan", recipe, "align=[{method: grpo, max_prompt_length: 3, adapter: {method: lora}}]")
    assert (code, "every row of prompts.jsonl is longer than 3 tokens" in error, "raise max_prompt_length" in error) == (
        2,
        True,
        True,
    )


def test_folders_that_are_no_model(lapidar: Cli, tiny_llama: Path, tmp_path: Path) -> None:
    def said(folder: Path) -> str:
        code, error = lapidar("plan", str(TINY), f"model.source={folder}")
        assert code == 2
        return error

    broken = tmp_path / "model"
    assert "model" in said(broken)
    broken.mkdir()
    assert "it has no config.json" in said(broken)
    shutil.copytree(tiny_llama, broken, dirs_exist_ok=True)
    config = json.loads((broken / "config.json").read_bytes())
    (broken / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    assert "config.json says vocab_size=100" in said(broken)
    (broken / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "code.Model"}}))
    assert "would run the model author's Python code" in said(broken)
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "is a Git LFS pointer, not weights" in said(broken)
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    assert "has its weights as pickle (pytorch_model.bin)" in said(broken)


def test_a_home_that_cannot_be_written(lapidar: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPIDAR_HOME", str(Path(write("", "file")) / "home"))
    for command in (["run", str(TINY)], ["data", "build", str(TINY)], ["up"], ["down"], ["audit"]):
        code, error = lapidar(*command)
        assert code == 2
        assert "can't be written (Not a directory); choose a folder of your own with LAPIDAR_HOME=/path" in error


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("THREADS", "many", "LAPIDAR_THREADS='many': input should be a valid integer"),
        ("THREADS", "0", "LAPIDAR_THREADS='0': input should be greater than or equal to 1"),
        ("DEVICE", "gpu", "LAPIDAR_DEVICE='gpu': input should be 'auto', 'cpu' or 'cuda'"),
    ],
)
def test_variables_of_another_kind(lapidar: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(f"LAPIDAR_{name}", value)
    for command in (["run", str(TINY)], ["plan", str(TINY)], ["models", "list"], ["up"]):
        code, error = lapidar(*command)
        assert (code, said in error) == (2, True), error
        assert error.endswith("set it otherwise or unset it\n")


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "THREADS", "DEVICE", "STORE", "TRACKING_URI"):
        monkeypatch.setenv(f"LAPIDAR_{name}", "")
    settings = Settings()
    assert settings.root == tmp_path / ".lapidar"  # not the folder that one works in
    assert (settings.threads, settings.device, settings.store, settings.tracking_uri) == (None, "auto", None, None)


def test_a_second_run_in_the_same_home(lapidar: Cli, home: Path) -> None:
    Settings(home=home).prepare()
    with (home / "lock").open("a+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.truncate(0)
        other.write("4711\n")
        other.flush()
        code, error = lapidar("run", str(TINY))
        assert code == 2
        assert f"another run is using {home} (process 4711)" in error
        assert lapidar("plan", str(TINY))[0] == 0  # looking is always allowed
    (home / "lock").unlink()


@pytest.mark.slow
def test_data_that_its_dvc_file_does_not_name(lapidar: Cli) -> None:
    for folder in (".dvc", ".git"):
        Path(folder).mkdir()
    Path(".git").rmdir()
    subprocess.run(["git", "init", "-q"], check=True)
    write("/config.local\n/tmp\n/cache\n", ".dvc/.gitignore")
    write("", ".dvc/config")
    write("/data/\n", ".gitignore")
    write(lines(ROWS), "rows.jsonl")
    recipe = write(FILES.replace("method: files", "method: files, path: data"))
    assert lapidar("data", "build", recipe) == (0, "")
    with Path("data/sft.jsonl").open("ab") as file:
        file.write(lines(ROWS[:1]))
    changed = Path("data/sft.jsonl").read_bytes()
    for command in ("plan", "run"):
        code, error = lapidar(command, recipe)
        assert code == 2
        assert "data.dvc names" in error
        assert "`dvc checkout data.dvc` brings those files back" in error
    assert Path("data/sft.jsonl").read_bytes() == changed


@pytest.mark.parametrize(
    ("where", "said"), [(">&-", "--json has nowhere to write: standard output is closed"), (">/dev/full", "the disk is full")]
)
def test_a_document_that_has_nowhere_to_go(tmp_path: Path, where: str, said: str) -> None:
    command = f"{sys.executable} -m flows.cli plan {TINY} --json {where}"
    environment = os.environ | {"LAPIDAR_HOME": str(tmp_path / "home"), "PYTHONPATH": str(TINY.parents[2])}
    done = subprocess.run(["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from flows import cli
sys.argv = ["lapidar", "--help"]
try:
    cli.main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "transformers", "prefect", "mlflow", "datasets", "sqlalchemy", "pandas", "numpy", "streamlit", "dvc", "pydantic"}
print("imported:", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("run", "plan", "data", "models", "deploy", "up", "down"):
        assert f"\n  {command} " in done.stdout
    assert done.stdout.endswith("imported: []\n")
