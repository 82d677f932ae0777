"""A reward model as judge: the answer with the higher reward wins (Bradley–Terry, as ``components.align.reward`` trains it)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from components.artifacts import ModelRef
from components.judges.asking import NO_PROMPT, Identity, OnOpinion, Opinion, Question, by_scores


class RewardJudge:
    """Scores prompt and answer with a sequence classifier of one output.

    Args:
        ref: its files.
        name: stands for it in reports; its digest follows.
    """

    def __init__(self, ref: ModelRef, name: str, device: str = "cpu") -> None:
        self.identity = Identity(f"{name} ({ref.digest[:12]})", "reward", "score", "none", NO_PROMPT)
        self._ref, self._device = ref, device
        self._known: dict[tuple[str, str], float | None] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing but the model decides its verdicts."""
        return {}

    def ask(self, questions: Sequence[Question], on_opinion: OnOpinion) -> None:
        """Each answer is scored once, whatever the order. One that doesn't fit into the context leaves no verdict."""
        for index, question in enumerate(questions):
            first, second = (self._reward(question.prompt, answer) for answer in (question.first, question.second))
            if first is None or second is None:
                on_opinion(index, Opinion(None, error=f"longer than the reward model's context of {self._context} tokens"))
            else:
                on_opinion(index, Opinion(by_scores(first, second), (first, second)))

    def _reward(self, prompt: str, answer: str) -> float | None:
        if (prompt, answer) not in self._known:
            self._known[prompt, answer] = self._score(prompt, answer)
        return self._known[prompt, answer]

    def _score(self, prompt: str, answer: str) -> float | None:
        import torch

        from components.inference.local import plain

        model, tokenizer = self._loaded
        texts = [plain(text, tokenizer.all_special_tokens) for text in (prompt, answer)]
        messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), texts, strict=True)]
        ids = tokenizer.apply_chat_template(messages, return_dict=False)
        if len(ids) > self._context:
            return None
        with torch.inference_mode():
            return float(model(input_ids=torch.tensor([ids], device=self._device)).logits[0, 0])

    @property
    def _context(self) -> int:
        return int(self._loaded[0].config.get_text_config().max_position_embeddings)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForSequenceClassification

        from components.models.load import load_tokenizer, quieten

        quieten()
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            self._ref.base, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        tokenizer = load_tokenizer(self._ref.base)
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        return model.to(self._device).eval(), tokenizer


def is_reward_model(folder: Path) -> bool:
    """Whether a model folder holds a sequence classifier."""
    config = json.loads((folder / "config.json").read_bytes())
    return any("ForSequenceClassification" in name for name in config.get("architectures") or [])
