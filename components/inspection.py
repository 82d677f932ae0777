"""Looks inside a loaded model: one view is one small document, as JSON or as an Arrow table.

The caller loads the model and hands it over; a view computes in the caller's process, without gradients, and leaves the
model as it found it. What doesn't fit a view's limits is left out, and a sentence in ``notes`` says what and how to see it::

    document = inspect("logit_lens", {"top": 3}, model, tokenizer, Prompt.of(tokenizer, "Once upon a time"))
    document.to_dict()   # JSON-ready
    document.to_arrow()  # the same as a pyarrow table

Sample record (``document.to_dict()``, shortened)::

    {"schema": 1, "view": "tokens", "settings": {"top": 5, ...}, "facts": {"perplexity": 3.2, ...},
     "columns": {"position": [0, 1], "text": ["<s>", "Once"], "probability": [null, 0.61], ...}, "notes": []}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from components import methods
from components.config import MethodConfig
from components.errors import InputError, LapidarError

SCHEMA = 1
MAX_BYTES = 8 * 2**20
ENDINGS = (".arrow", ".feather", ".json")
_METADATA = b"lapidar"


class ViewConfig(MethodConfig):
    """Settings of a view."""

    needs_prompt: ClassVar[bool] = True


@dataclass(frozen=True)
class Document:
    """What a view shows.

    Attributes:
        view: name of the view.
        settings: those it was made with.
        facts: what holds for the whole of it: JSON values, numbers in the units that the view's docstring names.
        columns: a table, one list of equal length a column; an entry may be a list.
        notes: one sentence for each thing that was left out or can't be trusted.
        schema: version of this layout.
    """

    view: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    columns: Mapping[str, Sequence[Any]]
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """The table row by row."""
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; what isn't a finite number is None."""
        found: dict[str, Any] = _json_ready(asdict(self))
        return found

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table`` of the columns (32-bit floats); everything else is JSON in its metadata under ``lapidar``."""
        import pyarrow

        content = self.to_dict()
        table = pyarrow.table(content.pop("columns"))
        fields = [pyarrow.field(f.name, _narrow(f.type)) for f in table.schema]
        return table.cast(pyarrow.schema(fields)).replace_schema_metadata({_METADATA: json.dumps(content)})

    @classmethod
    def from_arrow(cls, table: Any) -> Document:
        """The document behind ``to_arrow``'s table.

        Raises:
            InputError: if the table isn't one, or has another layout than this version of Lapidar reads.
        """
        metadata = (table.schema.metadata or {}).get(_METADATA)
        content = json.loads(metadata) if metadata is not None else {}
        if content.get("schema") != SCHEMA:
            raise InputError(f"this Arrow table holds no view of schema {SCHEMA} (found {content.get('schema')}); make it again")
        return cls(columns=table.to_pydict(), **content | {"notes": tuple(content["notes"])})

    def save(self, path: Path) -> int:
        """Writes Arrow's file format (``.arrow``, ``.feather``) or ``.json`` and returns the number of bytes.

        Raises:
            InputError: for another ending, or a place that can't be written.
        """
        if path.suffix not in ENDINGS:
            raise InputError(f"{path} should end in {' or '.join(ENDINGS)}: the ending says what is written")
        try:
            if path.suffix == ".json":
                path.write_text(self.to_json() + "\n", encoding="utf-8")
            else:
                from pyarrow import feather

                feather.write_feather(self.to_arrow(), str(path), compression="zstd")
        except OSError as error:
            raise InputError(f"{path} can't be written ({error.strerror or error}); give another place") from error
        return path.stat().st_size


@dataclass(frozen=True)
class Prompt:
    """Token ids to look at.

    Attributes:
        ids: all of them, with the answer.
        answer_from: position of the answer's first token; equals ``len(ids)`` where there is no answer.
    """

    ids: tuple[int, ...]
    answer_from: int = field(default=-1)

    def __post_init__(self) -> None:
        if self.answer_from < 0:
            object.__setattr__(self, "answer_from", len(self.ids))

    @classmethod
    def of(cls, tokenizer: Any, text: str, answer: str = "", chat: bool = False) -> Prompt:
        """Tokenizes a text with the answer that follows it; a token that spans both belongs to the answer.

        Args:
            chat: puts the text into the tokenizer's chat template as a user's message.

        Raises:
            InputError: if the tokenizer has no template.
        """
        from components.models.chat import prompt_text

        if chat and not tokenizer.chat_template:
            raise InputError("the model's tokenizer has no chat template; give the text as it is, without --chat")
        before = prompt_text(tokenizer, [{"role": "user", "content": text}]) if chat else text
        ids = [tokenizer(whole, add_special_tokens=not chat)["input_ids"] for whole in (before, before + answer)]
        if not chat and len(ids[0]) > 1 and ids[0][-1] == ids[1][-1] == tokenizer.eos_token_id:
            ids = [row[:-1] for row in ids]  # this tokenizer ends every text
        same = next((i for i, (a, b) in enumerate(zip(*ids, strict=False)) if a != b), min(map(len, ids)))
        return cls(tuple(ids[1]), same if answer else len(ids[1]))


def inspect(view: str, settings: Mapping[str, Any], model: Any, tokenizer: Any, prompt: Prompt | None = None) -> Document:
    """Makes one view of a loaded model. Not for two threads at once: hooks and attention belong to the model.

    Args:
        view: name of a file in ``components/inspect/``.
        settings: values for its Config.
        model: of transformers, with or without a PEFT adapter.
        prompt: what the model reads, for views that need it.

    Raises:
        InputError: for an unknown view or setting, a prompt that is missing, empty or longer than the model's context, or a
            model that has nothing of the kind.
        LapidarError: if the document is too large all the same.
    """
    import torch

    module = methods.load("inspect", view)
    config = configure(view, settings)
    if config.needs_prompt:
        _check(prompt, view, model)
    with torch.no_grad(), _unchanged(model):
        document: Document = module.view(config, model, tokenizer, prompt)
    if (size := len(document.to_json().encode())) > MAX_BYTES:
        raise LapidarError(
            f"{view} would be {size / 2**20:.1f} MiB, more than {MAX_BYTES // 2**20}; ask for fewer tokens, layers or heads"
        )
    return document


def configure(view: str, settings: Mapping[str, Any]) -> ViewConfig:
    """A view's Config.

    Raises:
        InputError: naming the setting, its value and what there is.
    """
    config = methods.load("inspect", view).Config
    try:
        found: ViewConfig = config.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "settings"
        known = ", ".join(f"{key}={field.default}" for key, field in config.model_fields.items() if key != "method")
        if first["type"] == "extra_forbidden":
            raise InputError(f"{view} has no setting {name!r}; it has {known}") from error
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{view}: {name}={first['input']!r}: {message[0].lower()}{message[1:]} ({known})") from error
    return found


def _check(prompt: Prompt | None, view: str, model: Any) -> None:
    if prompt is None or not prompt.ids:
        raise InputError(f"{view} shows what the model makes of a text; add --prompt TEXT")
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and len(prompt.ids) > context:
        raise InputError(f"the prompt has {len(prompt.ids)} tokens, the model's context {context}; shorten it")


@contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Evaluation mode meanwhile; afterwards every module's mode and torch's generators are as before."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _json_ready(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_ready(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _narrow(kind: Any) -> Any:
    """An Arrow type with 32-bit floats, and null columns as 32-bit floats."""
    import pyarrow

    if pyarrow.types.is_float64(kind) or pyarrow.types.is_null(kind):
        return pyarrow.float32()
    if pyarrow.types.is_list(kind):
        return pyarrow.list_(_narrow(kind.value_type))
    if pyarrow.types.is_struct(kind):
        return pyarrow.struct([pyarrow.field(f.name, _narrow(f.type)) for f in kind.fields])
    return kind
