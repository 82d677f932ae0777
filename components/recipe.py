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
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from components.config import Choice, Config, MethodConfig
from components.errors import InputError
from components.models.sources.pretrain import Config as PretrainConfig
from components.recipe_mistakes import Written, check_duplicate_keys


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
    check_duplicate_keys(node, path)
    if adapt is not None:
        adapt(raw)
    overridden = [apply_override(raw, override) for override in overrides]
    written = Written(Recipe, raw, node, path, overridden)
    try:
        recipe = kind.model_validate(raw)
    except ValidationError as error:
        raise InputError("\n".join(map(written.explain, error.errors()))) from error
    written.check_numbers(recipe.dump())
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
