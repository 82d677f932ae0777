"""A job's answers while they are decoded: text, tool calls and log-probabilities as the HTTP process wants them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from components.inference.server.messages import Done, Piece, Said, Token
from components.inference.server.prepare import Prepared
from components.inference.server.streaming import Growing, Vocabulary

if TYPE_CHECKING:
    from components.agents.toolcalls import Stream
    from components.inference.answer import Completion, Event
    from components.inference.kv_cache import Usage


@dataclass
class _Sample:
    """One of a job's answers, and what of it wasn't sent yet."""

    text: Growing
    tools: Stream | None
    waiting: str = ""
    ids: list[int] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)


class Answers:
    """Answers of one job. ``take`` an event of the decoder; gives what to send."""

    def __init__(self, prepared: Prepared, tokenizer: Any, vocabulary: Vocabulary, end_ids: set[int]) -> None:
        self.job = prepared.job
        self._tokenizer, self._vocabulary, self._end_ids = tokenizer, vocabulary, end_ids
        self._stops = prepared.sampling.stop
        self.left = prepared.sampling.n
        self._samples = [self._sample() for _ in range(self.left)]
        self._method = prepared.kv.method if prepared.kv is not None else None
        self._begun = False
        self._reused = 0
        self._usage: Usage | None = None

    def take(self, event: Event) -> list[Said]:
        """What to send after an event: nothing for most tokens of an answer that isn't streamed."""
        sample = self._samples[event.sample]
        sample.ids.append(event.token)
        self._reused = max(self._reused, event.reused)
        if event.logprob is not None:
            sample.tokens.append(self._vocabulary.token(event.token, event.logprob, event.alternatives))
        calls: tuple[dict[str, Any], ...] = ()
        if event.completion is not None:
            self._usage = event.completion.usage or self._usage
            calls = self._finish(sample, event.completion)
        elif self.job.stream:
            piece = "" if event.token in self._end_ids else sample.text.add(event.token)
            sample.waiting += sample.tools.push(piece) if sample.tools is not None else piece
        done = event.completion is not None
        if not (done or not self._begun or (self.job.stream and (sample.waiting or sample.tokens))):
            return []
        self._begun = True
        finish = None if event.completion is None else "tool_calls" if calls else event.completion.finish
        at = time.monotonic()
        said: list[Said] = [Piece(self.job.id, event.sample, sample.waiting, sample.ids, sample.tokens or None, finish, calls, at)]
        sample.waiting, sample.ids, sample.tokens = "", [], []
        if done:
            self.left -= 1
        if not self.left:
            said.append(Done(self.job.id, self._reused, self._kv()))
        return said

    def _finish(self, sample: _Sample, completion: Completion) -> tuple[dict[str, Any], ...]:
        """Adds the rest of a finished answer's text; returns its tool calls."""
        if sample.tools is None:
            sample.waiting += sample.text.finish(completion.text)
            return ()
        sample.waiting += sample.tools.push(sample.text.finish(self._with_marks(completion.ids)))
        parsed = sample.tools.close()
        if parsed.calls and not self.job.parallel:  # the first one, and nothing of what a model wrote beside it
            parsed = replace(parsed, calls=parsed.calls[:1], malformed=())
        sample.waiting += parsed.text + "".join(malformed.text for malformed in parsed.malformed)
        return tuple(call.message() for call in parsed.calls)

    def _with_marks(self, ids: list[int]) -> str:
        """An answer's text with special tokens but for the end, cut before the first stop string."""
        kept = ids[:-1] if ids and ids[-1] in self._end_ids else ids
        text: str = self._tokenizer.decode(kept, skip_special_tokens=False)
        return text[: min([len(text), *(at for stop in self._stops if (at := text.find(stop)) >= 0)])]

    def _sample(self) -> _Sample:
        if not self.job.tools:
            return _Sample(Growing(self._tokenizer, self._stops), None)
        from components.agents.prompts import format_of
        from components.agents.toolcalls import Stream

        return _Sample(Growing(self._tokenizer, self._stops, special=True), Stream(format_of(self._tokenizer), self.job.tools))

    def _kv(self) -> dict[str, Any] | None:
        if self._usage is None or self._method is None:
            return None
        return {"method": self._method, **asdict(self._usage)}
