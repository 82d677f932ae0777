"""What ``lapidar evaluate`` is asked for: a model and a suite of benchmarks.

A suite is a built-in one, a single benchmark, or a YAML file with a recipe's ``evaluate`` section (also a whole recipe, of which
``data`` and ``evaluate`` are taken)::

    name: reasoning
    evaluate:
      benchmarks:
        - {method: gsm8k, shots: 5, cot: false}
        - {method: math500}
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from components import methods
from components import recipe as recipes
from components.config import Choice, MethodConfig
from components.errors import InputError
from components.inference.endpoint import is_endpoint
from components.recipe import Recipe

_TAKEN = ("name", "seed", "data", "evaluate")
_MODEL = ("chat_template", "eos_token", "revision", "licence")


class Evaluation(Recipe):
    """A recipe that trains nothing: a model that exists, and what it is measured by.

    Attributes:
        data: dataset version whose held-out split benchmarks read; none where all of them have data of their own.
    """

    data: Annotated[MethodConfig, Choice("data")] | None = None  # type: ignore[assignment]
    evaluate: Annotated[MethodConfig, Choice("evaluate", default="harness")] = Field(default=...)


def builtin() -> dict[str, Path]:
    """Suites that come with Lapidar, by name."""
    folder = Path(__file__).parent.parent / "flows" / "suites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(model: str, suite: str, overrides: list[str] | None = None) -> Evaluation:
    """The evaluation of a model by a suite.

    Args:
        model: ``models:/name/version`` or ``models:/name@alias``, a folder, a hub id, or an endpoint ``URL#model``.
        suite: see above.
        overrides: ``seed=1``, ``evaluate.reruns=2``, ``model.eos_token=<s>``, or a setting of all its benchmarks: ``limit=100``.

    Raises:
        InputError: naming the suite, the key, its line, and the nearest right one.
    """
    path = _find(suite)
    text = path.read_text(encoding="utf-8") if path is not None else f"evaluate: {{benchmarks: [{{method: {suite}}}]}}\n"

    def adapt(raw: dict[str, Any]) -> None:
        if "evaluate" not in raw or raw["evaluate"] is None:
            raise InputError(f"{path} has no 'evaluate' section; a suite needs one with 'benchmarks:'")
        _take(raw, model, Path(suite).stem)

    return recipes.parse(text, path or Path(suite), _spread(overrides or [], text), Evaluation, adapt)


def _find(suite: str) -> Path | None:
    """The file of a suite; None for a single benchmark."""
    if suite in (known := builtin()):
        return known[suite]
    if suite in (single := methods.names("benchmark")):
        return None
    if suite in (whole := recipes.builtin()):
        return whole[suite]
    if Path(suite).is_file():
        return Path(suite)
    near = get_close_matches(suite, [*known, *single, *whole], 1)
    hint = f"did you mean {near[0]!r}?" if near else f"suites are {', '.join(known)}; benchmarks are {', '.join(single)}"
    raise InputError(f"no suite {suite!r}: neither a built-in suite, nor a benchmark, nor a file; {hint}")


def _take(raw: dict[str, Any], model: str, name: str) -> None:
    """Leaves of a recipe what an evaluation needs, and names the model."""
    training = raw.keys() & ({field.alias or n for n, field in Recipe.model_fields.items()} - {*_TAKEN, "model"})
    for section in training:
        del raw[section]
    given = raw.pop("model", None) or {}
    raw.setdefault("name", name)
    if is_endpoint(model):
        raw["evaluate"] = {**raw["evaluate"], "method": "endpoint", "endpoint": model}
    else:
        kept = {key: value for key, value in given.items() if key in _MODEL} if isinstance(given, Mapping) else {}
        raw["model"] = {**kept, "source": model}


def _spread(overrides: list[str], text: str) -> list[str]:
    """Overrides as the recipe has them: a benchmark's setting stands once for each benchmark."""
    import yaml

    known = {field.alias or name for name, field in Recipe.model_fields.items()}
    section = (yaml.safe_load(text) or {}).get("evaluate") if isinstance(yaml.safe_load(text), dict) else None
    count = len((section or {}).get("benchmarks") or [{}]) if isinstance(section, dict) else 1
    found = []
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] in known:
            found.append(override)
        else:
            found += [f"evaluate.benchmarks.{number}.{override}" for number in range(count)]
    return found
