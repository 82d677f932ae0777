"""Where tools run: the project's own in this process, a team's files in the sandbox, or in a child process where they are trusted.

A tool never stops who called it: what it raises, an answer that is too long, a time that is over become the result that the model
reads. The sandbox has Python's standard library and no network, no files and no packages; a file that needs more must be trusted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from components.agents.toolcalls import ToolDefinition, checked, problem
from components.agents.toolfiles import Tool
from components.config import Config
from components.errors import InputError, LapidarError

_STAND_IN = """
import sys, types
class MethodConfig:
    def __init__(self, **values):
        for name, value in values.items():
            setattr(self, name, value)
for name in ("components", "components.config", "pydantic"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["components.config"].MethodConfig = sys.modules["components.config"].Config = MethodConfig
sys.modules["pydantic"].Field = lambda default=None, **_: default
sys.modules["pydantic"].BaseModel = MethodConfig
"""
"""What a file finds in the sandbox in place of pydantic: its settings were looked at before."""
_TAIL = """
def _lapidar_main():
    import json, sys
    request = json.loads(sys.stdin.read())
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        result = run(Config(**request["settings"]), **request["arguments"])
        said = {"result": result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    out.write("\\n" + json.dumps(said) + "\\n")
    out.flush()
_lapidar_main()
"""
_CHILD = "import sys; sys.path.insert(0, {root!r}); exec(compile({program!r}, {path!r}, 'exec'), {{'__name__': 'tool'}})"


class Policy(Config):
    """What tools may use.

    Attributes:
        trust: files of the team run in a child process with all packages and rights of the user, not in the sandbox.
        seconds: that a call may take.
        characters: of a result; what is longer is cut, and says so.
        memory_mb: of a file in the sandbox.
    """

    trust: bool = False
    seconds: float = Field(10.0, gt=0, le=600)
    characters: int = Field(8000, ge=100, le=1_000_000)
    memory_mb: int = Field(512, ge=64)


@dataclass(frozen=True)
class Result:
    """What came of a call: ``text`` for the model; ``ok`` is False for errors."""

    text: str
    ok: bool
    seconds: float


class Toolbox:
    """Tools by name.

    Raises:
        InputError: if two tools share a name, settings are wrong, or a file can't run where the policy says.
    """

    def __init__(self, tools: Sequence[Tool] = (), policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._tools = {tool.name: tool for tool in tools}
        if len(self._tools) != len(tools):
            twice = sorted({tool.name for tool in tools if sum(other.name == tool.name for other in tools) > 1})
            raise InputError(f"there are two tools {twice[0]!r}; rename one of the files")
        self.definitions: tuple[ToolDefinition, ...] = checked([tool.definition for tool in tools])
        self._configs = {tool.name: _config(tool) for tool in tools if tool.own}
        if not self.policy.trust and (files := [tool for tool in tools if not tool.own]):
            for tool in files:
                if not tool.standard:
                    raise InputError(
                        f"{tool.path} imports more than Python's standard library, and the sandbox has no more; "
                        "do without, or trust it (--trust-tools): it then runs with your rights"
                    )
            from components.sandbox import run as sandbox

            sandbox.require()

    def __bool__(self) -> bool:
        return bool(self._tools)

    def call(self, name: str, arguments: Any, seconds: float | None = None) -> Result:
        """Runs a tool, unless the call doesn't fit it.

        Args:
            seconds: that are left, if fewer than the policy's.
        """
        start = time.monotonic()
        reason = problem({tool["function"]["name"]: tool for tool in self.definitions}, name, arguments)
        if reason is not None:
            return Result(f"Error: {reason}", False, 0.0)
        tool, within = self._tools[name], max(0.1, min(self.policy.seconds, seconds or self.policy.seconds))
        run = self._own if tool.own else self._trusted if self.policy.trust else self._sandboxed
        try:
            text, ok = run(tool, arguments, within), True
        except LapidarError as error:
            text, ok = f"Error: {error}", False
        if len(text) > self.policy.characters:
            text = f"{text[: self.policy.characters]}… (cut; {len(text)} characters in all)"
        return Result(text, ok, time.monotonic() - start)

    def _own(self, tool: Tool, arguments: Mapping[str, Any], seconds: float) -> str:
        """One of ours: its own limits hold; a call that takes too long is left behind in its thread."""
        from components import methods

        said: list[Any] = []

        def work() -> None:
            try:
                said.append(methods.load("tool", tool.name).run(self._configs[tool.name], **arguments))
            except Exception as error:  # of whatever kind: the model reads it
                said.append(error)

        thread = threading.Thread(target=work, name=f"tool-{tool.name}", daemon=True)
        thread.start()
        thread.join(seconds)
        if not said:
            raise LapidarError(_late(tool, seconds))
        if isinstance(said[0], Exception):
            raise LapidarError(str(said[0])) from said[0]
        return said[0] if isinstance(said[0], str) else json.dumps(said[0], ensure_ascii=False, default=str)

    def _sandboxed(self, tool: Tool, arguments: Mapping[str, Any], seconds: float) -> str:
        from components.sandbox import run as sandbox

        limits = sandbox.Limits(
            cpu_seconds=max(1, int(seconds)),
            wall_seconds=seconds,
            memory_mb=self.policy.memory_mb,
            output_kb=max(64, 8 * self.policy.characters >> 10),
        )
        program = _STAND_IN + f"exec(compile({tool.source!r}, {tool.path.name!r}, 'exec'), globals())\n" + _TAIL
        done = sandbox.execute(program, _request(tool, arguments), limits)
        if not done.passed:
            late = done.outcome == "timeout"
            raise LapidarError(_late(tool, seconds) if late else f"{tool.name} {done.outcome}: {done.detail[:300]}")
        return _said(tool, done.stdout)

    def _trusted(self, tool: Tool, arguments: Mapping[str, Any], seconds: float) -> str:
        program = tool.source + _TAIL
        root = str(Path(__file__).parents[2])
        command = [sys.executable, "-c", _CHILD.format(root=root, program=program, path=str(tool.path))]
        try:
            done = subprocess.run(
                command,
                input=_request(tool, arguments),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise LapidarError(_late(tool, seconds)) from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise LapidarError(f"{tool.name} ended with status {done.returncode}: {(lines or ['no message'])[-1][:300]}")
        return _said(tool, done.stdout)


def _late(tool: Tool, seconds: float) -> str:
    return f"{tool.name} took longer than {seconds:.3g} s"


def _config(tool: Tool) -> Any:
    """The settings of one of our tools."""
    from components import methods

    try:
        return methods.load("tool", tool.name).Config.model_validate(tool.settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"tool {tool.name}: {place}={first['input']!r} is wrong: {first['msg']}") from error


def _request(tool: Tool, arguments: Mapping[str, Any]) -> str:
    return json.dumps({"settings": dict(tool.settings), "arguments": dict(arguments)})


def _said(tool: Tool, stdout: str) -> str:
    """The last line of what a file's program wrote."""
    try:
        said = json.loads(stdout.rstrip("\n").rpartition("\n")[2])
        if "error" in said:
            raise LapidarError(str(said["error"]))
        return str(said["result"])
    except (ValueError, KeyError, TypeError) as error:
        raise LapidarError(f"{tool.name} ended without a result") from error
