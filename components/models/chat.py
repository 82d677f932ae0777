"""The one way from messages to token ids, used in training, evaluation and chat.

The template is part of the model folder (``chat_template.jinja``), so whoever loads the model renders the same text.
"""

from __future__ import annotations

import hashlib
from typing import Any

from components.errors import InputError

PLAIN = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "Answer:{% generation %} {{ message['content'] }}{{ eos_token }}{% endgeneration %}\n"
    "{% elif message['role'] == 'user' %}Question: {{ message['content'] }}\n"
    "{% else %}{{ message['content'] }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Answer:{% endif %}"
)
"""Template for base models that have none.

The space before an answer belongs to the answer: a prompt that ended in a space would end in other tokens than the
same text followed by an answer, and the model would be asked what it was never trained on.
"""

Message = dict[str, str]


def choose_template(tokenizer: Any, setting: str, eos_token: str | None = None) -> None:
    """Gives a tokenizer its chat template: ``auto`` (its own, else ``plain``), ``plain``, or a template's text.

    Args:
        eos_token: ends answers in place of the tokenizer's own end token.

    Raises:
        InputError: if the tokenizer doesn't know the end token or has none, or the text is no template's.
    """
    if eos_token is not None:
        if eos_token not in tokenizer.get_vocab():
            raise InputError(
                f"model.eos_token={eos_token!r} isn't a token of this tokenizer; its end token is {tokenizer.eos_token!r}"
            )
        tokenizer.eos_token = eos_token
    if tokenizer.eos_token is None:
        raise InputError("the tokenizer has no eos_token, so answers could never end; add one to tokenizer_config.json")
    if setting == "auto":
        tokenizer.chat_template = tokenizer.chat_template or PLAIN
    elif setting != "plain" and "{" not in setting:
        raise InputError(f"model.chat_template={setting!r} is neither 'auto' nor 'plain' nor a template's text")
    else:
        tokenizer.chat_template = PLAIN if setting == "plain" else setting


def template_hash(tokenizer: Any) -> str:
    """sha256 of the chat template's text."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def prompt_ids(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Token ids of a conversation up to where the assistant's answer begins."""
    return rendered_ids(tokenizer, messages, add_generation_prompt=True)


def rendered_ids(tokenizer: Any, messages: list[Message], **settings: Any) -> list[int]:
    """Token ids of a conversation, rendered by the template.

    Raises:
        InputError: if the template refuses it: many refuse some roles, or some orders of them.
    """
    from jinja2 import TemplateError

    try:
        ids: list[int] = tokenizer.apply_chat_template(messages, return_dict=False, **settings)
    except (TemplateError, TypeError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise InputError(f"the model's chat template refuses a conversation of {roles}: {str(error)[:300]}") from error
    return ids


def prompt_text(tokenizer: Any, messages: list[Message]) -> str:
    """The same as text."""
    text: str = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text


def prompt_messages(prompt: str | list[Message]) -> list[Message]:
    """What stands before an answer: a prompt's messages, or its one question."""
    return prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]


def as_messages(record: dict[str, Any]) -> tuple[list[Message], list[Message]]:
    """(prompt, completion) messages of an SFT record, which has ``prompt`` and ``completion`` or ``messages``."""
    if "messages" in record:
        return record["messages"][:-1], record["messages"][-1:]
    return [{"role": "user", "content": record["prompt"]}], [{"role": "assistant", "content": record["completion"]}]
