"""Files become tools or are refused with line and remedy; they run where the policy says; nothing they do stops the caller."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from components.agents import toolfiles
from components.agents.toolbox import Policy, Toolbox
from components.errors import InputError

HEAD = '''from typing import Literal
from components.config import MethodConfig

class Config(MethodConfig):
    """Settings."""
    method: Literal["own"] = "own"
    digits: int = 3

'''
LENGTH = (
    HEAD
    + '''def run(config: Config, metres: float, unit: Literal["ft", "in"] = "ft", note: str | None = None) -> str:
    """Converts metres.

    Args:
        metres: The length.
        unit: What to convert it to.
        note: Is repeated.
    """
    print("this isn't the result")
    return f"{metres / {'ft': 0.3048, 'in': 0.0254}[unit]:.{config.digits}f} {unit}{note or ''}"
'''
)
DOC = '"""Does something.\n\n    Args:\n        x: A number.\n    """\n'


def write(folder: Path, source: str, name: str = "own") -> Path:
    path = folder / f"{name}.py"
    path.write_text(source)
    return path


def body(text: str) -> str:
    return HEAD + f"def run(config: Config, x: int = 1) -> str:\n    {DOC}" + "".join(f"    {line}\n" for line in text.splitlines())


def box(path: Path, **policy: object) -> Toolbox:
    return Toolbox(toolfiles.find(str(path)), Policy(**policy))  # type: ignore[arg-type]


@pytest.mark.parametrize("trust", [False, True])
def test_a_file_is_a_tool(tmp_path: Path, trust: bool) -> None:
    path = write(tmp_path, LENGTH, "length")
    tool = toolfiles.read(path, {"digits": 1})
    function = tool.definition["function"]
    assert function["name"] == "length"
    assert function["description"] == "Converts metres."
    assert function["parameters"]["required"] == ["metres"]
    assert function["parameters"]["properties"]["unit"]["enum"] == ["ft", "in"]
    assert function["parameters"]["properties"]["note"]["type"] == ["string", "null"]
    assert "config" not in function["parameters"]["properties"]
    tools = Toolbox([tool], Policy(trust=trust))
    result = tools.call("length", {"metres": 3.048, "note": None})
    assert (result.text, result.ok) == ("10.0 ft", True)
    refused = tools.call("length", {"metres": "3", "unit": "ft"})
    assert not refused.ok
    assert "don't fit at metres" in refused.text


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("def run(:", 1, "isn't Python"),
        (HEAD, 1, "no function run"),
        (HEAD + "def run(x: int): ...", 9, "first argument of run isn't config"),
        (HEAD + "def run(config, x): ...", 9, "no docstring"),
        (HEAD + f"def run(config, x):\n    {DOC}", 9, "x has no type"),
        (HEAD + f"def run(config, x: open('/tmp/planted', 'w')):\n    {DOC}", 9, "the type of x is"),
        (HEAD + f"def run(config, x: 'open(1)'):\n    {DOC}", 9, "the type of x is"),
        (HEAD + f"def run(config, x: int = print(1)):\n    {DOC}", 9, "default isn't a plain value"),
        (HEAD + f"def run(config, *x: int):\n    {DOC}", 9, "starred"),
        (HEAD + 'def run(config, x: int):\n    """No arguments."""', 9, "no description for the argument 'x'"),
        (f"def run(config, x: int):\n    {DOC}", 1, "no class Config"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_line(tmp_path: Path, source: str, line: int, words: str) -> None:
    path = write(tmp_path, source)
    with pytest.raises(InputError) as caught:
        toolfiles.read(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)
    assert "; " in str(caught.value)


def test_reading_a_file_runs_none_of_it(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    path = write(tmp_path, f"open({str(planted)!r}, 'w')\n" + LENGTH)
    Toolbox(toolfiles.find(str(path)))
    assert not planted.exists()


def test_settings_and_names_are_checked(tmp_path: Path) -> None:
    path = write(tmp_path, LENGTH)
    with pytest.raises(InputError, match="no setting 'digit'; it has digits"):
        toolfiles.read(path, {"digit": 1})
    with pytest.raises(InputError, match="no tool 'calculater'; there are calculator, retrieval"):
        toolfiles.find("calculater")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no tool"):
        toolfiles.find(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="two tools 'calculator'"):
        Toolbox(toolfiles.find("calculator") * 2)
    with pytest.raises(InputError, match="bits=1 is wrong"):
        Toolbox(toolfiles.find("calculator", {"bits": 1}))


def test_a_stranger_gets_nowhere_from_the_sandbox(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("told")
    tools = box(write(tmp_path, body(f"return open({str(secret)!r}).read()")))
    result = tools.call("own", {})
    assert not result.ok
    assert "told" not in result.text
    network = box(write(tmp_path, body("import socket\nsocket.create_connection(('127.0.0.1', 9))\nreturn 'connected'")))
    result = network.call("own", {})
    assert not result.ok
    assert "connected" not in result.text


def test_trusted_files_have_the_users_rights(tmp_path: Path) -> None:
    tools = box(write(tmp_path, body("import numpy, os\nreturn str(os.getpid())")), trust=True)
    result = tools.call("own", {})
    assert result.ok
    assert int(result.text) != os.getpid()
    with pytest.raises(InputError, match=r"imports more than Python's standard library.*--trust-tools"):
        box(tmp_path / "own.py")


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise KeyError('planted')", "KeyError: 'planted'"),
        ("import time\nwhile True: time.sleep(0.1)", "took longer than 2 s"),
        ("import os\nos._exit(3)", "own"),
        ("return 'x' * 5000", "xxx… (cut; 5000 characters in all)"),
    ],
)
def test_what_a_tool_does_is_an_answer(tmp_path: Path, trust: bool, source: str, words: str) -> None:
    within = 2 if "longer" in words else 60  # to start Python takes time as well
    result = box(write(tmp_path, body(source)), trust=trust, seconds=within, characters=100).call("own", {})
    assert words in result.text
    assert len(result.text) < 400
    assert result.ok == ("cut" in words)
    assert result.seconds < 30


def test_the_projects_own_tools_run_here() -> None:
    tools = Toolbox(toolfiles.find("calculator"))
    assert tools.call("calculator", {"expression": "1/4"}).text == "0.25"
    failed = tools.call("calculator", {"expression": "1/0"})
    assert (failed.ok, failed.text) == (False, "Error: division by zero")
    assert "there is no tool" in tools.call("shell", {}).text
