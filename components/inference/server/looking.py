"""Views of a served model (``components.inspection``), bounded: between two steps of decoding, on a prompt of limited length."""

from __future__ import annotations

from typing import Any

from components.errors import InputError
from components.inference.server.messages import Look

MOST_TOKENS = 1024
"""Of prompt and answer together: everybody's answers wait meanwhile."""


def look_at(look: Look, model: Any, tokenizer: Any) -> dict[str, Any]:
    """The view's document.

    Raises:
        InputError: for an unknown view or setting, a text that is missing or too long, or a version that wasn't trained as an
            adapter.
    """
    from components.inspection import Prompt, configure, inspect

    config = configure(look.view, look.settings)
    if config.needs_prompt and not look.prompt:
        raise InputError(f"{look.view} shows what the model makes of a text; give a prompt")
    prompt = Prompt.of(tokenizer, look.prompt, look.answer, look.chat) if look.prompt else None
    if prompt is not None and len(prompt.ids) > MOST_TOKENS:
        raise InputError(f"the text has {len(prompt.ids)} tokens; a served model looks at {MOST_TOKENS} at most, shorten it")
    if look.apart is not None:
        from components.models.open import open_model
        from components.settings import Settings

        model, tokenizer = open_model(look.apart, Settings(), unmerged=True)  # for this view only, then let go
    return inspect(look.view, look.settings, model, tokenizer, prompt).to_dict()
