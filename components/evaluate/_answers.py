"""Between the harness and whoever answers: keeps every answer as soon as it is there, and holds back prompts that don't fit.

One line an answer, with its place among the requests and the sha256 of what was asked::

    {"at": 17, "asked": "9f86d081…", "answer": ["The answer is 7.", false]}

So an evaluation that was broken off goes on where it stopped, and asks again where the question has changed. Requests are
answered in chunks with fixed borders and seeds of their own: a resumed run draws what an uninterrupted one draws.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from components.errors import InputError
from components.inference.harness import Answer

_GENERATED, _SCORED = 512, 8192
"""Requests in a chunk: of answers, of log-probabilities."""
_LEAST, _TOKENS = 64, 1 << 18  # long answers come in smaller chunks: a chunk is what a crash costs
_NO_ANSWER: list[Any] = ["", True]
_NO_SCORE: list[Any] = [None, False]


class Answers(LM):  # type: ignore[misc]
    """The harness's model interface around another one, for one benchmark.

    Args:
        inner: answers. If it has ``on_answer``, that is called with (place in the call, answer) for each answer as it comes.
        file: where the answers are kept.
        fits: whether a prompt leaves room in the model's context; None where that isn't known.
    """

    def __init__(self, inner: Any, file: Path, seed: int, fits: Callable[[str], bool] | None = None) -> None:
        super().__init__()
        self.inner, self.file, self.seed, self._fits = inner, file, seed, fits
        self.prompts = hashlib.sha256()
        self.overlong: list[int] = []
        self.requests = 0
        self.first = ""

    @property
    def tokenizer_name(self) -> str:
        """See LM."""
        return str(self.inner.tokenizer_name)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """See LM."""
        found: str | None = self.inner.chat_template(chat_template)
        return found

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """See LM."""
        found: str = self.inner.apply_chat_template(chat_history, add_generation_prompt)
        return found

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers, of class ``Answer``."""
        longest = max(int(request.args[1]["max_gen_toks"]) for request in requests)
        size = max(_LEAST, min(_GENERATED, _TOKENS // longest))

        def ask(chunk: list[Instance]) -> list[list[Any]]:
            return [[str(answer), bool(answer.truncated)] for answer in self.inner.generate_until(chunk)]

        return [Answer(text, cut) for text, cut in self._all(requests, size, ask, _NO_ANSWER)]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-probability in nats, whether greedy) of every continuation; minus infinity where the prompt doesn't fit."""
        found = self._all(requests, _SCORED, self.inner.loglikelihood, _NO_SCORE)
        return [(float("-inf") if value is None else float(value), bool(greedy)) for value, greedy in found]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Summed log-probabilities of whole texts; not kept."""
        found: list[float] = self.inner.loglikelihood_rolling(requests)
        return found

    def _all(
        self, requests: list[Instance], size: int, ask: Callable[[list[Instance]], Any], without: list[Any]
    ) -> list[list[Any]]:
        asked = [hashlib.sha256(repr(request.args).encode("utf-8", "surrogatepass")).hexdigest() for request in requests]
        self._note(requests)
        known = self._known(asked)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as kept:

            def keep(at: int, answer: Any) -> None:
                if at not in known:
                    known[at] = list(answer)
                    kept.write(json.dumps({"at": at, "asked": asked[at], "answer": known[at]}) + "\n")
                    kept.flush()

            long = set(self.overlong)
            for start in range(0, len(requests), size):
                places = [at for at in range(start, min(start + size, len(requests))) if at not in long]
                self._chunk(start // size, places, requests, ask, known, keep)
        return [without if at in long else known[at] for at in range(len(requests))]

    def _chunk(self, number: int, places: list[int], requests: Any, ask: Any, known: dict[int, Any], keep: Any) -> None:
        """Answers to a chunk's requests. What draws by place in the chunk gets it whole, an endpoint only what is missing."""
        if all(at in known for at in places):
            return
        single = hasattr(self.inner, "on_answer")
        asking = [at for at in places if at not in known] if single else places
        self.inner.seed = self.seed if number == 0 or single else _derived(self.seed, number)
        if single:
            self.inner.places = asking
            self.inner.on_answer = lambda i, answer: keep(asking[i], [str(answer), bool(answer.truncated)])
        for at, answer in zip(asking, ask([requests[at] for at in asking]), strict=True):
            keep(at, answer)

    def _note(self, requests: list[Instance]) -> None:
        """The hash over all prompts, the first of them, and those that don't fit."""
        for request in requests:
            for part in request.args[: 1 if isinstance(request.args[1], dict) else 2]:
                self.prompts.update(part.encode("utf-8", "surrogatepass") + b"\0")
        self.first, self.requests = requests[0].args[0], len(requests)
        texts = ["".join(r.args[:2]) if isinstance(r.args[1], str) else r.args[0] for r in requests]
        self.overlong = [at for at, text in enumerate(texts) if self._fits is not None and not self._fits(text)]
        if len(self.overlong) == len(texts):
            raise InputError(
                f"{len(texts)} of {len(texts)} prompts don't fit into the model's context; "
                "take fewer shots, or a model with a longer one"
            )

    def _known(self, asked: list[str]) -> dict[int, list[Any]]:
        """Answers that are there for what is asked now; the line that a kill tore is dropped."""
        if not self.file.exists():
            return {}
        whole = self.file.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.split(b"\n") if line]
        self.file.write_bytes(whole + b"\n" if whole else b"")
        return {line["at"]: line["answer"] for line in lines if line["at"] < len(asked) and asked[line["at"]] == line["asked"]}


def _derived(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} chunk {number}".encode()).digest()[:4], "big")
