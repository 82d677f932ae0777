"""A tool is a file: ``Config`` is its settings, ``run`` what is called; signature and docstring say what models may give it.

::

    from typing import Literal
    from components.config import MethodConfig

    class Config(MethodConfig):  # with a docstring
        method: Literal["length"] = "length"
        digits: int = 3

    def run(config: Config, metres: float, unit: Literal["ft", "in"] = "ft") -> str:  # Google docstring with each argument
        return f"{metres / {'ft': 0.3048, 'in': 0.0254}[unit]:.{config.digits}f} {unit}"

A file is read, never imported, to learn what it offers: a stranger's file runs where ``toolbox`` lets it run, and nowhere before.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from components.agents.toolcalls import ToolDefinition
from components.errors import InputError

OWN = Path(__file__).with_name("tools")
_LARGEST = 256 << 10
_NAMES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict, "Literal": Literal, "Any": Any}
_OURS = {"components.config", "__future__", "pydantic"}


@dataclass(frozen=True)
class Tool:
    """A tool that was read and not run.

    Attributes:
        definition: what models are told, as OpenAI's API has it.
        own: whether it is one of the project's.
        settings: values for its ``Config``.
        standard: whether it needs nothing but Python's standard library; only such a file can run in the sandbox.
    """

    name: str
    path: Path
    source: str
    definition: ToolDefinition
    own: bool
    standard: bool
    settings: Mapping[str, Any] = field(default_factory=dict)


def names() -> list[str]:
    """The project's own tools."""
    return sorted(file.stem for file in OWN.glob("*.py") if not file.stem.startswith("_"))


def find(given: str, settings: Mapping[str, Any] | None = None) -> list[Tool]:
    """Tools by name, by file, or all files of a folder.

    Raises:
        InputError: if there is no such tool, or a file doesn't fit: with line and remedy.
    """
    if given in names():
        return [read(OWN / f"{given}.py", settings, own=True)]
    path = Path(given).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.glob("*.py") if not file.stem.startswith("_"))
        if not files:
            raise InputError(f"{path} holds no tool; a tool is a Python file there")
        return [read(file, settings) for file in files]
    if path.is_file():
        return [read(path, settings)]
    raise InputError(f"no tool {given!r}; there are {', '.join(names())}, or give a Python file or a folder of them")


def read(path: Path, settings: Mapping[str, Any] | None = None, own: bool = False) -> Tool:
    """What a file offers.

    Raises:
        InputError: with line and remedy.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} has {path.stat().st_size >> 10} KB; a tool's file has {_LARGEST >> 10} at most")
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read ({error}); a tool is a Python file in UTF-8") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}:{getattr(error, 'lineno', 1)}: it isn't Python ({error}); mend that line") from error
    reader = _Reader(path, tree)
    return Tool(path.stem, path, source, reader.definition(), own, reader.standard(), reader.settings(settings or {}))


class _Reader:
    """Reads one file's tree."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.path, self.tree = path, tree

    def refuse(self, node: Any, what: str, remedy: str) -> InputError:
        return InputError(f"{self.path}:{getattr(node, 'lineno', 1)}: {what}; {remedy}")

    def definition(self) -> ToolDefinition:
        """The schema, by transformers' ``get_json_schema`` from the signature and docstring alone."""
        from transformers.utils.chat_template_utils import DocstringParsingException, TypeHintParsingException, get_json_schema

        if not self.path.stem.isidentifier():
            raise self.refuse(None, f"{self.path.stem!r} can't be a tool's name", "call the file with letters, digits and '_'")
        run = self._run()
        stub = ast.FunctionDef(name=self.path.stem, args=run.args, body=run.body[:1], decorator_list=[], returns=run.returns)
        space: dict[str, Any] = {}
        try:
            code = compile(ast.fix_missing_locations(ast.Module([stub], [])), str(self.path), "exec", dont_inherit=True)
            exec(code, {"__builtins__": {}, **_NAMES}, space)  # noqa: S102 - nothing but types that _annotation has let through
            found: dict[str, Any] = get_json_schema(space[self.path.stem])
        except (DocstringParsingException, TypeHintParsingException, ValueError, TypeError) as error:
            raise self.refuse(
                run, str(error), "give each argument a simple type and a line under Args: in the docstring"
            ) from error
        found["function"].pop("return", None)
        found["function"]["parameters"] = _plain(found["function"]["parameters"])
        return found

    def standard(self) -> bool:
        """Whether the file imports nothing but the standard library and what the sandbox stands in for."""
        for node in ast.walk(self.tree):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or "."] if not node.level else ["."]
            if any(name.split(".")[0] not in sys.stdlib_module_names and name not in _OURS for name in modules):
                return False
        return True

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the file's ``Config``: names that it doesn't have are refused here, values where it is made."""
        config = next((n for n in self.tree.body if isinstance(n, ast.ClassDef) and n.name == "Config"), None)
        if config is None:
            raise self.refuse(None, "there is no class Config", "add one: class Config(MethodConfig), with its settings")
        known = {n.target.id for n in config.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)} - {"method"}
        if unknown := sorted(given.keys() - known):
            raise self.refuse(
                config, f"{self.path.stem} has no setting {unknown[0]!r}", f"it has {', '.join(sorted(known)) or 'none'}"
            )
        return dict(given)

    def _run(self) -> ast.FunctionDef:
        """``run`` without its ``config``, once everything that will be executed of it has been looked at."""
        run = next((n for n in self.tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.name == "run"), None)
        if not isinstance(run, ast.FunctionDef):
            raise self.refuse(run, "there is no function run", "define `def run(config: Config, …) -> str`")
        spec = run.args
        first = (spec.posonlyargs + spec.args)[:1]
        if not first or first[0].arg != "config":
            raise self.refuse(run, "the first argument of run isn't config", "define `def run(config: Config, …) -> str`")
        if spec.vararg or spec.kwarg or spec.posonlyargs or spec.kwonlyargs:
            raise self.refuse(run, "run has starred or positional-only arguments", "name every argument that a model may give")
        if not ast.get_docstring(run):
            raise self.refuse(run, "run has no docstring", "say what it does, and each argument under Args:")
        for argument in spec.args[1:]:
            if argument.annotation is None:
                raise self.refuse(argument, f"{argument.arg} has no type", "write one, such as str, int or list[str]")
            self._annotation(argument.annotation, argument.arg)
        if run.returns is not None:
            self._annotation(run.returns, "what run returns")
        for default in spec.defaults:
            try:
                ast.literal_eval(default)
            except ValueError as error:
                raise self.refuse(
                    default, "a default isn't a plain value", "write a number, a text, True, False or None"
                ) from error
        spec.args = spec.args[1:]
        return run

    def _annotation(self, node: ast.expr, name: str) -> None:
        """Refuses what isn't a simple type: it will be executed."""
        allowed = (ast.Subscript, ast.Tuple, ast.BinOp, ast.BitOr, ast.Load, ast.UnaryOp, ast.USub)
        literals = {
            id(part)
            for literal in ast.walk(node)
            if isinstance(literal, ast.Subscript) and isinstance(literal.value, ast.Name) and literal.value.id == "Literal"
            for part in ast.walk(literal.slice)
        }
        for part in ast.walk(node):
            known = isinstance(part, ast.Name) and part.id in _NAMES
            plain = isinstance(part, ast.Constant) and (part.value is None or id(part) in literals)
            if not (known or plain or isinstance(part, allowed)):
                raise self.refuse(
                    node, f"the type of {name} is {ast.unparse(node)[:60]!r}", f"use {', '.join(_NAMES)}, combined with [] and |"
                )


def _plain(schema: Any) -> Any:
    """``nullable`` as JSON schema says it; what other tools are called with stays as it is."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _plain(value) for name, value in schema.items() if name != "nullable" or not isinstance(value, bool)}
    if schema.get("nullable") is True and "type" in found:
        kinds = found["type"] if isinstance(found["type"], list) else [found["type"]]
        found["type"] = [*kinds, "null"]
    return found
