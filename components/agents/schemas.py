"""JSON schemas of tools' arguments: what is one, what fits it. Nothing is fetched, and no pattern of a stranger's is searched.

Schemas come with requests. ``jsonschema`` would fetch what a ``$ref`` names, and Python's ``re`` can take forever over a short
text; so references stay inside the schema, and ``pattern`` isn't checked here (a grammar made from the schema keeps to it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.errors import InputError

_EMPTY: Mapping[str, Any] = {"type": "object", "properties": {}}


def check(schema: Any, place: str) -> None:
    """Refuses what isn't the JSON schema of an object.

    Raises:
        InputError: names the place.
    """
    import jsonschema

    if schema is None:
        return
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise InputError(f"{place} isn't the JSON schema of an object; tools take named arguments")
    try:
        jsonschema.Draft202012Validator.check_schema(schema, format_checker=None)
    except jsonschema.SchemaError as error:
        raise InputError(f"{place} isn't a JSON schema: {error.message[:200]}") from error
    except RecursionError as error:
        raise InputError(f"{place} is nested too deeply; flatten it") from error


def misfit(schema: Mapping[str, Any] | None, value: Any) -> str | None:
    """How a value misses a schema, as the end of a sentence, or None. Names that an object doesn't list are refused."""
    import referencing
    from referencing.exceptions import Unresolvable

    try:
        errors = _validator()(closed(schema or _EMPTY), registry=referencing.Registry()).iter_errors(value)
        error = next(iter(errors), None)
    except RecursionError:
        return "can't be checked: the schema is nested too deeply"
    except Unresolvable as missing:
        return f"can't be checked: the schema points to {str(missing.ref)[:100]}, which it doesn't hold"
    if error is None:
        return None
    place = ".".join(str(part) for part in error.absolute_path)
    return f"don't fit{f' at {place}' if place else ''}: {error.message[:200]}"


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that takes no names but its own, unless it says what else it takes."""
    open_ended = {"additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf"}
    if "properties" in schema and not open_ended & schema.keys():
        return {**schema, "additionalProperties": False}
    return dict(schema)


def _validator() -> Any:
    from jsonschema import Draft202012Validator, validators

    def unchecked(*_: Any) -> Iterator[Any]:
        return iter(())

    def additional(validator: Any, setting: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if "patternProperties" not in schema:
            yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, setting, instance, schema)

    own = {"pattern": unchecked, "patternProperties": unchecked, "unevaluatedProperties": unchecked}
    return validators.extend(Draft202012Validator, {**own, "additionalProperties": additional})
