"""A recipe: one YAML file is one experiment. Reads, overrides, checks; a wrong key is answered with the nearest right one.

Sample::

    name: quickstart
    seed: 0
    data: {method: wordproblems, path: data}
    model: {source: pretrain}
    quantize: {method: nf4}
    sft: {lr: 2.0e-3}
    align: [{method: dpo}, {method: grpo}]
    export: {method: gptq}
    evaluate: {}
    register: {name: quickstart}
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from components.config import Choice, Config, MethodConfig
from components.errors import InputError
from components.models.sources.pretrain import Config as PretrainConfig
from components.spool import flatten


class ModelConfig(Config):
    """The base model.

    Attributes:
        source: ``pretrain``, a folder, a hub id ``org/name`` with ``revision``, or ``models:/name/version``.
        revision: 40 hex digits of the hub commit.
        chat_template: ``auto`` (the tokenizer's own, else ``plain``), ``plain``, or a Jinja file, whose text takes its place: so
            what was rendered stands in the record, and another text under the same name is another recipe.
        eos_token: token that ends an answer, where it isn't the tokenizer's own: a pretrained model knows the one that stood
            behind its training texts, and can't learn one that it never saw.
        licence: licence of the base model, if its folder doesn't state it.
    """

    source: str = "pretrain"
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    chat_template: str = "auto"
    eos_token: str | None = None
    licence: str | None = None
    pretrain: PretrainConfig = PretrainConfig()

    @field_validator("chat_template")
    @classmethod
    def _text_of_a_file(cls, value: str) -> str:
        if value in ("auto", "plain") or "{" in value:
            return value
        try:
            return Path(value).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError("is neither 'auto' nor 'plain' nor a file") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"isn't UTF-8 (byte {error.start}); save it as UTF-8") from error

    @model_validator(mode="after")
    def _end_token_is_known(self) -> ModelConfig:
        if self.eos_token is not None and self.source == "pretrain":
            raise ValueError("eos_token is for a base model that exists; the tokenizer that is trained here has its own")
        return self


class JudgePolicy(Config):
    """What a judge's verdict must be, and the judge itself, for the gate.

    Attributes:
        min_kappa: least agreement with people (Cohen's κ); a judge below it may not decide.
        min_consistency: least share of verdicts that stay when the answers change places; below it the judge may not decide.
        min_win_rate: least win rate against the champion: its whole interval lies above it.
    """

    min_kappa: float = Field(0.4, ge=-1, le=1)
    min_consistency: float = Field(0.7, ge=0, le=1)
    min_win_rate: float = Field(0.5, ge=0, le=1)


class VotesPolicy(Config):
    """What people's votes must be for the gate.

    Attributes:
        min_votes: fewer say nothing.
        min_win_rate: least win rate: its whole interval lies above it.
        min_reviewers: votes of fewer people say nothing.
    """

    min_votes: int = Field(30, ge=1)
    min_win_rate: float = Field(0.5, ge=0, le=1)
    min_reviewers: int = Field(2, ge=1)


class RegisterConfig(Config):
    """Registration and the gate's limits.

    Attributes:
        name: registered model's name.
        metric: the benchmark metric that the gate compares, as it stands in the evaluation's report.
        max_kl: largest mean KL (nats a token) from the trained model to the exported one.
        min_top1: least share of positions where both have the same most probable token.
        max_unusable: largest share of truncated or unparsed answers.
        margin: by how much the candidate must be better than the champion: the whole interval lies above it.
        guards: metrics in which it may not be worse than the champion: no whole interval below zero.
        licences: licences that the base model may have, as its version states them; None asks for none.
        max_mb: largest size of the weights that are served, in MiB.
        max_latency_ms: longest time to the first token of one chat, in milliseconds, on the machine that verifies.
        min_tokens_per_second: least speed of one chat there.
        require_clean: whether contamination must have been looked for and not found; *not checked* isn't clean.
        judge: what a judge must say, and how well it must be calibrated; None asks for no judge.
        votes: what people's votes must say; None asks for no votes.
        approvals: how many people must agree before a version becomes champion. 1: whoever promotes it, or the run itself if
            its gate passes; 2: nobody alone.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    metric: str = "accuracy"
    max_kl: float = Field(0.5, ge=0)
    min_top1: float = Field(0.8, ge=0, le=1)
    max_unusable: float = Field(0.2, ge=0, le=1)
    margin: float = Field(0.0, ge=0)
    guards: tuple[str, ...] = ()
    licences: tuple[str, ...] | None = None
    max_mb: float | None = Field(None, gt=0)
    max_latency_ms: float | None = Field(None, gt=0)
    min_tokens_per_second: float | None = Field(None, gt=0)
    require_clean: bool = False
    judge: JudgePolicy | None = None
    votes: VotesPolicy | None = None
    approvals: int = Field(1, ge=1, le=9)


class Recipe(Config):
    """One experiment, resolved."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = Field(0, ge=0, lt=2**32)
    data: Annotated[MethodConfig, Choice("data")]
    model: ModelConfig = ModelConfig()
    search: Annotated[MethodConfig, Choice("search", default="qr_adaptor")] | None = None
    quantize: Annotated[MethodConfig, Choice("quantize")] | None = None
    sft: Annotated[MethodConfig, Choice("sft", default="sft")] | None = None
    align: list[Annotated[MethodConfig, Choice("align")]] = Field(default_factory=list)
    export: Annotated[MethodConfig, Choice("export")] | None = None
    evaluate: Annotated[MethodConfig, Choice("evaluate", default="harness")] | None = None
    contamination: Annotated[MethodConfig, Choice("screen", default="screen")] | None = None
    register_: RegisterConfig | None = Field(None, alias="register")

    @field_validator("align", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return [] if value is None else value

    def dump(self) -> dict[str, Any]:
        """The resolved recipe as JSON-ready values, defaults included."""
        return self.model_dump(mode="json", by_alias=True)


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def builtin() -> dict[str, Path]:
    """Recipes that come with Lapidar, by name."""
    folder = Path(__file__).parent.parent / "flows" / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(recipe: str) -> Path:
    """The file of a recipe given by name or path.

    Raises:
        InputError: if there is none.
    """
    if recipe in (known := builtin()):
        return known[recipe]
    if (path := Path(recipe)).is_file():
        return path
    near = get_close_matches(recipe, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"built-in recipes are {', '.join(known)}"
    raise InputError(f"no recipe {recipe!r}: neither a built-in name nor a file; {hint}")


def load(recipe: str, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe by name or path and applies ``section.key=value`` overrides.

    Raises:
        InputError: naming the key, its line, and the nearest right key.
    """
    path = find(recipe)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} isn't UTF-8 (byte {error.start}); save it as UTF-8") from error
    return parse(text, path, overrides or [], Recipe)


def parse(
    text: str, path: Path, overrides: list[str], kind: type[AnyRecipe], adapt: Callable[[dict[str, Any]], None] | None = None
) -> AnyRecipe:
    """A recipe's text with its overrides, checked.

    Args:
        path: named in messages.
        kind: Recipe, or one of its special cases.
        adapt: changes what was read before the overrides are applied.

    Raises:
        InputError: naming the key, its line, and the nearest right key.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path} isn't valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deep; a recipe has a handful of levels") from error
    if node is None or not isinstance(raw, dict):
        raise InputError(f"{path} holds no recipe: expected 'name:', 'data:', … at the top level")
    _check_duplicate_keys(node, path)
    if adapt is not None:
        adapt(raw)
    overridden = [apply_override(raw, override) for override in overrides]
    try:
        recipe = kind.model_validate(raw)
    except ValidationError as error:
        raise InputError("\n".join(_explain(e, raw, node, path, overridden) for e in error.errors())) from error
    _check_numbers(recipe, raw, node, path, overridden)
    return recipe


def apply_override(raw: dict[str, Any], override: str) -> str:
    """Sets ``a.b.0.c=value`` (value is YAML) in place and returns the dotted name.

    Raises:
        InputError: if it isn't of that form or doesn't fit the recipe's shape.
    """
    name, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", name):
        raise InputError(f"override {override!r} isn't of the form section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"override {override!r}: {text!r} isn't a YAML value") from error
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        value = float(value)  # YAML 1.1 reads 1e-3 as a string
    *parents, last = name.split(".")
    here: Any = raw
    for depth, part in enumerate([*parents, last]):
        final = depth == len(parents)
        if isinstance(here, list):
            if not part.isdigit() or int(part) >= len(here):
                place = ".".join(name.split(".")[:depth])
                raise InputError(f"override {override!r}: {place} is a list of {len(here)}; use an index below that")
            index: Any = int(part)
        elif isinstance(here, dict):
            index = part
        else:
            raise InputError(f"override {override!r}: {'.'.join(name.split('.')[:depth])} is {here!r} and holds no {part!r}")
        if final:
            here[index] = value
        else:
            if isinstance(here, dict) and here.get(index) is None:
                here[index] = {}
            here = here[index]
    return name


def _check_duplicate_keys(node: yaml.Node, path: Path, outside: tuple[yaml.Node, ...] = ()) -> None:
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
            _check_duplicate_keys(value, path, outside)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_duplicate_keys(value, path, outside)


def _check_numbers(recipe: Recipe, raw: dict[str, Any], node: yaml.Node, path: Path, overridden: list[str]) -> None:
    """YAML reads ``yes`` and ``on`` as true, and pydantic true as 1: refuse it where a number is meant."""
    resolved = flatten(recipe.dump())
    for dotted, value in flatten(raw).items():
        if isinstance(value, bool) and isinstance(resolved.get(dotted), (int, float)) and not isinstance(resolved[dotted], bool):
            loc = tuple(int(part) if part.isdigit() else part for part in dotted.split("."))
            place = _place(loc, node, path, overridden)
            raise InputError(
                f"{place}: {dotted}={value!r}: input should be a number; YAML reads yes, no, on and off as true and false"
            )


def _place(loc: tuple[Any, ...], node: yaml.Node, path: Path, overridden: list[str]) -> str:
    """Where a key stands: the file's line, or an override that sets it or made it."""
    dotted = ".".join(str(part) for part in loc)
    made = not _stands(node, loc) and any(name.startswith(dotted + ".") for name in overridden)
    if made or any(dotted == name or dotted.startswith(name + ".") for name in overridden):
        return "override"
    return f"{path}:{_line(node, loc)}"


def _explain(error: Any, raw: dict[str, Any], node: yaml.Node, path: Path, overridden: list[str]) -> str:
    """One sentence for one of pydantic's errors: place, key, value, nearest right key."""
    loc = _without_tags(error["loc"])
    dotted = ".".join(str(part) for part in loc)
    place = _place(loc, node, path, overridden)
    kind = error["type"]
    if kind == "extra_forbidden" or error["loc"][-1:] == ("[key]",):
        known = _known_keys(loc[:-1], raw)
        near = get_close_matches(str(loc[-1]), known, 1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
        return f"{place}: unknown key {dotted!r}; {hint}"
    if kind == "union_tag_invalid":
        known = [part.strip(" '") for part in error["ctx"]["expected_tags"].split(",")]
        near = get_close_matches(error["ctx"]["tag"], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        return f"{place}: {dotted} has no method {error['ctx']['tag']!r}; {hint}"
    if kind in ("union_tag_not_found", "model_type") and not isinstance(error["input"], dict):
        name = "method" if kind == "union_tag_not_found" else next(iter(_known_keys(loc, raw)), "key")
        return f"{place}: {dotted}={error['input']!r}: expected settings by name, as in {dotted}.{name}=…"
    if kind == "union_tag_not_found":
        return f"{place}: {dotted} names no method; add 'method:'"
    if kind in ("list_type", "tuple_type") and place == "override" and isinstance(error["input"], dict):
        return (
            f"override: {dotted} isn't a list in {path}, so that it has no items to change; give the whole list: '{dotted}=[…, …]'"
        )
    if kind == "missing":
        return f"{place}: {dotted} is missing"
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict) and error["input"]:  # settings that don't go together: the message names them
        return f"{place}: {dotted}: {message[0].lower()}{message[1:]}"
    return f"{place}: {dotted}={error['input']!r}: {message[0].lower()}{message[1:]}"


def _without_tags(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """Drops what pydantic puts into a location: the method names that tag unions, and the mark of a mapping's key."""
    found, kinds = list[Any](), list[Any]([Recipe])
    for part in loc:
        if (choice := _choice(kinds)) is not None:
            kinds = [_config(choice, part)]
        elif part != "[key]":
            found.append(part)
            kinds = _inside(kinds, part)
    return tuple(found)


def _known_keys(loc: tuple[Any, ...], raw: Any) -> list[str]:
    """The keys that are allowed where a location without tags leads to."""
    kinds, here = list[Any]([Recipe]), raw
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


def _stands(node: yaml.Node, loc: tuple[Any, ...]) -> bool:
    """Whether the file itself has a key."""
    for part in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode) and (found := [v for k, v in node.value if k.value == str(part)]):
            node = found[0]
        else:
            return False
    return True


def _line(node: yaml.Node, loc: tuple[Any, ...]) -> int:
    """The line of a key, or of its deepest present parent."""
    line = node.start_mark.line + 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
