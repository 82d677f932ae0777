"""A language model as judge, behind an endpoint or on this machine: pairwise (one call a question) or by rubric (one an answer)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.inference.endpoint import Chat, EndpointError, Reply
from components.judges import prompts, verdicts
from components.judges.asking import Identity, Kind, OnOpinion, Opinion, Question, by_scores
from components.judges.prompts import JudgePrompt


class ChatJudge:
    """Asks ``chat`` at temperature 0.

    Args:
        kind: ``endpoint`` or ``local``.
        max_tokens: an output that reaches it is cut, and a cut output has no verdict.
        seed: decides the markers of the prompts.
        concurrency: requests at a time.
    """

    def __init__(
        self,
        chat: Chat,
        kind: Kind,
        prompt: JudgePrompt,
        family: str | None = None,
        max_tokens: int = 1024,
        seed: int = 0,
        concurrency: int = 8,
    ) -> None:
        self.identity = Identity(chat.name, kind, prompt.mode, prompt.id, prompt.sha256, family)
        self._chat, self._prompt = chat, prompt
        self._max_tokens, self._seed, self._concurrency = max_tokens, seed, concurrency

    @property
    def settings(self) -> dict[str, Any]:
        """The limit of its outputs."""
        return {"max_tokens": self._max_tokens}

    def ask(self, questions: Sequence[Question], on_opinion: OnOpinion) -> None:
        """One call a question, or two where answers are rated one by one.

        A question that the model can't take (too long for it) gets an opinion without a verdict.

        Raises:
            EndpointError: if the endpoint fails, or none of the questions could be asked.
        """
        calls = [(i, messages) for i, question in enumerate(questions) for messages in self._conversations(question)]
        replies: dict[int, dict[int, Reply]] = {}
        each = len(calls) // len(questions) if questions else 0

        def take(call: int, found: list[Reply]) -> None:
            index = calls[call][0]
            mine = replies.setdefault(index, {})
            mine[call] = found[0]
            if len(mine) == each:
                on_opinion(index, self._opinion([mine[number] for number in sorted(mine)]))

        try:
            self._chat.chat_many(
                [messages for _, messages in calls],
                max_tokens=self._max_tokens,
                seed=self._seed,
                concurrency=self._concurrency,
                on_reply=take,
            )
        except EndpointError as error:
            if error.hopeless or not error.replies:
                raise
            failures = {calls[call][0]: said for call, said in error.failures.items()}
            for index, said in failures.items():
                on_opinion(index, Opinion(None, error=said))

    def _conversations(self, question: Question) -> list[list[dict[str, str]]]:
        seed = f"{self._seed} {question.key}"
        if self._prompt.mode == "pairwise":
            texts = {"prompt": question.prompt, "first": question.first, "second": question.second}
            return [prompts.render(self._prompt, seed, texts, question.reference)]
        return [
            prompts.render(self._prompt, f"{seed} {place}", {"prompt": question.prompt, "answer": answer}, question.reference)
            for place, answer in enumerate((question.first, question.second))
        ]

    def _opinion(self, replies: list[Reply]) -> Opinion:
        raw, cut = tuple(reply.text for reply in replies), [reply.finish == "length" for reply in replies]
        if self._prompt.mode == "pairwise":
            return Opinion(verdicts.pairwise(raw[0], cut[0]), raw=raw, cut=cut[0])
        ratings = [verdicts.rating(text, was_cut) for text, was_cut in zip(raw, cut, strict=True)]
        if ratings[0] is None or ratings[1] is None:
            return Opinion(None, raw=raw, cut=any(cut))
        return Opinion(by_scores(ratings[0], ratings[1]), (ratings[0], ratings[1]), raw, any(cut))
