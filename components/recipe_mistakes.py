"""What is wrong in a recipe, told by place and key, with the nearest right one."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from components.config import Choice, Config, MethodConfig
from components.errors import InputError
from components.spool import flatten


@dataclass(frozen=True)
class Written:
    """A recipe as somebody wrote it.

    Attributes:
        schema: what a recipe may hold.
        raw: the file's content with the overrides.
        node: the file's content with its lines.
        overridden: dotted names that overrides set.
    """

    schema: type[Config]
    raw: dict[str, Any]
    node: yaml.Node
    path: Path
    overridden: list[str]

    def check_numbers(self, resolved: dict[str, Any]) -> None:
        """YAML reads ``yes`` and ``on`` as true, and pydantic true as 1: refuse it where a number is meant.

        Args:
            resolved: the recipe with its defaults, as JSON holds it.

        Raises:
            InputError: naming key, value and place.
        """
        became = flatten(resolved)
        for dotted, value in flatten(self.raw).items():
            if isinstance(value, bool) and type(became.get(dotted)) in (int, float):
                place = self._place(tuple(int(part) if part.isdigit() else part for part in dotted.split(".")))
                said = "input should be a number; YAML reads yes, no, on and off as true and false"
                raise InputError(f"{place}: {dotted}={value!r}: {said}")

    def explain(self, error: Any) -> str:
        """One sentence for one of pydantic's errors: place, key, value, nearest right key."""
        loc = _without_tags(error["loc"], self.schema)
        dotted = ".".join(str(part) for part in loc)
        place = self._place(loc)
        kind = error["type"]
        if kind == "extra_forbidden" or error["loc"][-1:] == ("[key]",):
            known = _known_keys(loc[:-1], self.raw, self.schema)
            near = get_close_matches(str(loc[-1]), known, 1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
            return f"{place}: unknown key {dotted!r}; {hint}"
        if kind == "union_tag_invalid":
            known = [part.strip(" '") for part in error["ctx"]["expected_tags"].split(",")]
            near = get_close_matches(error["ctx"]["tag"], known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            return f"{place}: {dotted} has no method {error['ctx']['tag']!r}; {hint}"
        if kind in ("union_tag_not_found", "model_type") and not isinstance(error["input"], dict):
            name = "method" if kind == "union_tag_not_found" else next(iter(_known_keys(loc, self.raw, self.schema)), "key")
            return f"{place}: {dotted}={error['input']!r}: expected settings by name, as in {dotted}.{name}=…"
        if kind == "union_tag_not_found":
            return f"{place}: {dotted} names no method; add 'method:'"
        if kind in ("list_type", "tuple_type") and place == "override" and isinstance(error["input"], dict):
            said = "so that it has no items to change; give the whole list"
            return f"override: {dotted} isn't a list in {self.path}, {said}: '{dotted}=[…, …]'"
        if kind == "missing":
            return f"{place}: {dotted} is missing"
        message = error["msg"].removeprefix("Value error, ")
        if isinstance(error["input"], dict) and error["input"]:  # settings that don't go together: the message names them
            return f"{place}: {dotted}: {message[0].lower()}{message[1:]}"
        return f"{place}: {dotted}={error['input']!r}: {message[0].lower()}{message[1:]}"

    def _place(self, loc: tuple[Any, ...]) -> str:
        """Where a key stands: the file's line, or an override that sets it or made it."""
        dotted = ".".join(str(part) for part in loc)
        line, stands = _found(self.node, loc)
        made = not stands and any(name.startswith(dotted + ".") for name in self.overridden)
        if made or any(dotted == name or dotted.startswith(name + ".") for name in self.overridden):
            return "override"
        return f"{self.path}:{line}"


def check_duplicate_keys(node: yaml.Node, path: Path, outside: tuple[yaml.Node, ...] = ()) -> None:
    """YAML silently keeps the last of two equal keys: refuse instead. An alias inside its own anchor would never end."""
    if node in outside:
        raise InputError(f"{path}:{node.start_mark.line + 1}: an alias stands inside the anchor that it names; write it out")
    outside = (*outside, node)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise InputError(f"{path}:{line}: key {key.value!r} stands twice (first in line {seen[key.value]})")
            seen[key.value] = key.start_mark.line + 1
            check_duplicate_keys(value, path, outside)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            check_duplicate_keys(value, path, outside)


def _without_tags(loc: tuple[Any, ...], schema: type[Config]) -> tuple[Any, ...]:
    """Drops what pydantic puts into a location: the method names that tag unions, and the mark of a mapping's key."""
    found, kinds = list[Any](), list[Any]([schema])
    for part in loc:
        if (choice := _choice(kinds)) is not None:
            kinds = [_config(choice, part)]
        elif part != "[key]":
            found.append(part)
            kinds = _inside(kinds, part)
    return tuple(found)


def _known_keys(loc: tuple[Any, ...], raw: Any, schema: type[Config]) -> list[str]:
    """The keys that are allowed where a location without tags leads to."""
    kinds, here = list[Any]([schema]), raw
    for part in loc:
        kinds = _inside(kinds, part)
        inside = part in here if isinstance(here, dict) else isinstance(here, list) and part < len(here)
        here = here[part] if inside else None
        if (choice := _choice(kinds)) is not None:
            method = here.get("method", choice.default) if isinstance(here, dict) else choice.default
            kinds = [_config(choice, method)] if method is not None else []
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Config):
            return [field.alias or name for name, field in kind.model_fields.items()]
        if get_origin(kind) is dict:
            return [str(name) for name in get_args(get_args(kind)[0])]
    return []


def _inside(kinds: list[Any], part: Any) -> list[Any]:
    """What a part of a value may be."""
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Config):
            field = next((f for n, f in kind.model_fields.items() if part in (n, f.alias)), None)
            return _kinds(field.annotation, *field.metadata) if field is not None else []
        if get_origin(kind) is not None:  # of a mapping the last argument says it, of a list or tuple the first
            return _kinds(get_args(kind)[1 if get_origin(kind) is dict else 0])
    return []


def _kinds(*types: Any) -> list[Any]:
    """Settings classes, choices of a method, lists and mappings that a field may be."""
    found, queue = list[Any](), list(types)
    while queue:
        item = queue.pop(0)
        if isinstance(item, Choice) or get_origin(item) in (list, tuple, dict):
            found.insert(0, item)
        elif isinstance(item, type) and issubclass(item, Config) and item is not MethodConfig:
            found.append(item)
        elif get_origin(item) is not Literal:
            queue += [*getattr(item, "__args__", ()), *getattr(item, "__metadata__", ())]
    return found


def _choice(kinds: list[Any]) -> Choice | None:
    return next((kind for kind in kinds if isinstance(kind, Choice)), None)


def _config(choice: Choice, method: Any) -> Any:
    """The Config class of a method's file."""
    from components import methods

    return methods.load(choice.section, str(method)).Config


def _found(node: yaml.Node, loc: tuple[Any, ...]) -> tuple[int, bool]:
    """(line of a key or of its deepest present parent, whether the file itself has the key)."""
    line = node.start_mark.line + 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                return line, False
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line, False
    return line, True
