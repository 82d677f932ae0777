"""An OpenAI-compatible endpoint as a model of lm-evaluation-harness. It generates; it can't say how probable a given text is.

A prompt is the JSON of its messages: the endpoint renders it with its own chat template.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from components.errors import InputError
from components.inference.endpoint import Endpoint, EndpointError, Reply
from components.inference.harness import Answer, request_settings

Messages = list[dict[str, str]]


class EndpointLM(LM):  # type: ignore[misc]
    """The harness's model interface over an endpoint.

    Attributes:
        tokenizer: None; nobody here knows the model's.
        places: where the requests of a call stand among all of the benchmark, for the seeds of repeated answers.
        on_answer: called with (place in the call, answer) as answers come in.
        refused: what the endpoint said of single requests that it refused while it answered others: they have no answer.
    """

    tokenizer = None

    def __init__(
        self, endpoint: Endpoint, seed: int, concurrency: int, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        super().__init__()
        self.endpoint, self.seed, self.chat = endpoint, seed, True
        self._concurrency, self._on_progress = concurrency, on_progress
        self.places: list[int] = []
        self.on_answer: Callable[[int, Answer], None] = lambda place, answer: None
        self.refused: list[str] = []

    @property
    def tokenizer_name(self) -> str:
        """Fingerprint for the harness's request cache."""
        return self.endpoint.name

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The endpoint's own, which isn't known here."""
        return None

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        """The messages as JSON."""
        return json.dumps(chat_history, ensure_ascii=False)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers, of class ``Answer``; those that go on with the same settings are asked side by side.

        Raises:
            InputError: if the endpoint failed, saying how many answers are kept.
        """
        answers: dict[int, Answer] = {}
        keys = [(request_settings(r.args[1]), place % r.repeats) for r, place in zip(requests, self.places, strict=True)]
        for key in dict.fromkeys(keys):
            chosen = [i for i, other in enumerate(keys) if other == key]
            self._ask([json.loads(requests[i].args[0]) for i in chosen], chosen, key, answers, len(requests))
        return [answers[i] for i in range(len(requests))]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Not possible.

        Raises:
            InputError: always.
        """
        raise InputError(NO_LIKELIHOOD.format(self.endpoint.name))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Not possible.

        Raises:
            InputError: always.
        """
        raise InputError(NO_LIKELIHOOD.format(self.endpoint.name))

    def _ask(self, conversations: list[Messages], chosen: list[int], key: Any, answers: dict[int, Answer], total: int) -> None:
        sampling, repeat = key

        def heard(position: int, replies: list[Reply]) -> None:
            place, reply = chosen[position], replies[0]
            answers[place] = Answer(_cut(reply.text, sampling.stop), reply.finish == "length")
            self.on_answer(place, answers[place])
            if self._on_progress is not None:
                self._on_progress(len(answers), total)

        seed = (self.seed + repeat) % 2**31 if sampling.temperature else None
        try:
            self.endpoint.chat_many(
                conversations,
                max_tokens=sampling.max_new_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=seed,
                stop=sampling.stop[:4],  # servers take no more
                concurrency=self._concurrency,
                on_reply=heard,
            )
        except EndpointError as error:
            if error.hopeless or not error.replies:
                raise InputError(
                    f"{error}; {len(answers)} of this step's {total} answers came and are kept: run the same command again to go on"
                ) from error
            for position, said in error.failures.items():
                answers[chosen[position]] = Answer("", True)
                self.refused.append(said)


NO_LIKELIHOOD = "{} is a chat endpoint, which doesn't say how probable a given text is; set form: generate, which reads an answer"


def _cut(text: str, stop: tuple[str, ...]) -> str:
    """Ends the answer before the first stop string, also those that the server wasn't told."""
    return text[: min([len(text), *(found for s in stop if (found := text.find(s)) >= 0)])]
