"""A model on this machine in the place of an endpoint: a folder, or a registered version's merged weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from components.artifacts import ModelRef
from components.errors import InputError
from components.inference.endpoint import Asking, Endpoint, EndpointError, Message, OnReply, Reply, connect, gathered, is_endpoint

if TYPE_CHECKING:
    from components.inference.engine import Completion, Engine
    from components.inference.sampling import Sampling
    from components.settings import Settings

CHUNK = 64
"""Conversations between two calls of ``on_reply``: what a kill loses at most."""


class LocalModel:
    """A loaded model that answers conversations through the engine.

    Args:
        ref: its files.
        name: stands for it in keys and reports; a folder's name says less than its digest, so the digest follows it.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, ref: ModelRef, name: str, device: str = "cpu") -> None:
        self.ref, self.device = ref, device
        self.name = f"{name} ({ref.digest[:12]})"

    def chat_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        concurrency: int = 8,
        on_reply: OnReply | None = None,
        **asking: Unpack[Asking],
    ) -> list[list[Reply]]:
        """Like ``Endpoint.chat_many``; the engine batches by itself, so ``concurrency`` changes nothing.

        Raises:
            EndpointError: if conversations don't fit into the model's context; the others are answered.
        """
        sampling = _sampling(asking)
        prompts = [self._tokens(messages) for messages in conversations]
        limit = self._engine.context - 1
        errors = {
            i: EndpointError(
                self.name,
                f"has room for {limit} tokens; a conversation has {len(ids)}",
                "shorten it or choose a model with a longer context",
                hopeless=False,
            )
            for i, ids in enumerate(prompts)
            if len(ids) > limit
        }
        fitting = [i for i in range(len(prompts)) if i not in errors]
        done: dict[int, list[Reply]] = {}
        for start in range(0, len(fitting), CHUNK):
            part = fitting[start : start + CHUNK]
            found = self._engine.generate([prompts[i] for i in part], sampling, positions=part)
            for place, i in enumerate(part):
                mine = found[place * sampling.n : (place + 1) * sampling.n]
                done[i] = [_reply(len(prompts[i]), completion) for completion in mine]
                if on_reply is not None:
                    on_reply(i, done[i])
        if errors:
            raise gathered(self.name, errors, done, len(conversations))
        return [done[i] for i in range(len(conversations))]

    def _tokens(self, messages: Sequence[Message]) -> list[int]:
        from components.models.chat import prompt_ids

        special = self._engine.tokenizer.all_special_tokens
        return prompt_ids(self._engine.tokenizer, [{**m, "content": plain(m["content"], special)} for m in messages])

    @cached_property
    def _engine(self) -> Engine:
        from components.inference.engine import Engine
        from components.models.load import load_model

        model, tokenizer = load_model(self.ref, self.device)
        if tokenizer.chat_template is None:
            from components.models.chat import choose_template

            choose_template(tokenizer, "auto")
        return Engine(model, tokenizer, self.device)


def plain(content: str, special: Sequence[str]) -> str:
    r"""A message's text in which no special token is left: what someone wrote must not end a turn or begin another.

    A zero-width space breaks them up.

    >>> plain("4</s>5", ["</s>"]) == "4<\u200b/s>5"
    True
    """
    for token in special:
        content = content.replace(token, f"{token[:1]}\u200b{token[1:]}")
    return content


def open_chat(spec: str, settings: Settings, timeout: float = 60, retries: int = 2) -> Endpoint | LocalModel:
    """The model that a command names: ``URL#model``, ``models:/name/version``, or a folder.

    Raises:
        InputError: if there is no such model; says what there is.
    """
    if is_endpoint(spec):
        return connect(spec, settings, timeout, retries)
    from components.settings import device_class

    return LocalModel(local_ref(spec, settings), spec, device_class(settings))


def local_ref(spec: str, settings: Settings) -> ModelRef:
    """The files of ``models:/name/version``, a folder in Hugging Face layout, or a stage's output that holds ``model/``.

    Raises:
        InputError: if it isn't there or isn't a model.
    """
    from components.models.resolve import resolve
    from components.recipe import ModelConfig

    folder = Path(spec).expanduser()
    if not spec.startswith("models:/") and not folder.is_dir():
        raise InputError(
            f"there is no model {spec!r}: name a folder, models:/name/version, or an endpoint as URL#model "
            "(http://127.0.0.1:8000/v1#name)"
        )
    source = str(folder / "model") if (folder / "model" / "config.json").is_file() else spec
    found = resolve(ModelConfig(source=source), settings)
    if found is None:
        raise InputError(f"{spec!r} has no files")
    return found


def _sampling(asking: Asking) -> Sampling:
    from components.inference.sampling import Sampling

    return Sampling(
        max_new_tokens=asking["max_tokens"],
        temperature=asking.get("temperature", 0.0),
        top_p=asking.get("top_p", 1.0),
        stop=tuple(asking.get("stop", ())),
        seed=asking.get("seed") or 0,
        n=asking.get("n", 1),
    )


def _reply(prompt: int, completion: Completion) -> Reply:
    return Reply(completion.text, completion.finish, prompt, len(completion.ids))
