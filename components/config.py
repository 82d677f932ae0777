"""The base of every section and method config: frozen, no unknown keys; and the field type that picks a method's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from components import methods


class Config(BaseModel):
    """Settings of a method or a section. Equal configs dump to equal JSON, which goes into the stage key."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class MethodConfig(Config):
    """Settings of one method; ``method`` is the name of its file."""

    method: str

    def splits(self) -> tuple[str, ...]:
        """Dataset splits that the method reads; only these decide its key."""
        return ()


def each_once(names: Sequence[str], what: str, remedy: str) -> None:
    """For validators of lists whose entries are told apart by a name.

    >>> each_once(["a", "b"], "method", "give its settings once")

    Raises:
        ValueError: naming the first that stands twice.
    """
    if double := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{what} {double!r} stands twice; {remedy}")


@dataclass(frozen=True)
class Choice:
    """Annotates a field whose ``method:`` key picks the Config of a file in a section's folder.

    Example: ``adapter: Annotated[MethodConfig, Choice("adapter", default="lora")]``
    """

    section: str
    default: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {n: handler.generate_schema(methods.load(self.section, n).Config) for n in methods.names(self.section)}

        def tag(value: Any) -> str | None:
            method = value.get("method", self.default) if isinstance(value, dict) else getattr(value, "method", None)
            return str(method) if method is not None else None

        return core_schema.tagged_union_schema(choices, tag, metadata={"section": self.section})
