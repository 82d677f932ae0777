"""Evaluates a model behind an OpenAI-compatible endpoint; see ``components.evaluate._measure``.

The one stage that talks to the network, and only to the endpoint that its settings name. What was answered is kept: the key of its
output holds the endpoint's URL and model name, since nobody here can say what stands behind them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.artifacts import Inputs
from components.evaluate._config import EvaluateConfig
from components.stage import Stage


class Config(EvaluateConfig):
    """An evaluation of a model that is elsewhere.

    Attributes:
        endpoint: ``URL#model``; its token comes from ``LAPIDAR_ENDPOINT_TOKEN``.
        concurrency: requests at a time.
        timeout: seconds without a byte from the server before a request counts as failed.
        retries: how often a request that met a busy or broken server is sent again.
    """

    method: Literal["endpoint"] = "endpoint"
    endpoint: str = Field("http://127.0.0.1:8000/v1#model", pattern=r"^https?://[^#]+#.+$")
    concurrency: int = Field(8, ge=1, le=256)
    timeout: float = Field(120.0, gt=0)
    retries: int = Field(2, ge=0, le=10)

    @model_validator(mode="after")
    def _only_what_a_chat_can(self) -> Config:
        for benchmark in self.benchmarks:
            if benchmark.by_likelihood:
                raise ValueError(
                    f"benchmark {benchmark.label!r} needs the probability of given texts, which a chat endpoint doesn't give; "
                    "set its form to generate, or evaluate the model's files"
                )
            if not benchmark.chat:
                raise ValueError(
                    f"benchmark {benchmark.label!r}: chat: false needs the model's files; a chat endpoint has a template"
                )
        return self


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Runs all benchmarks on the endpoint."""
    from components.evaluate._endpoint_lm import EndpointLM
    from components.evaluate._measure import measure
    from components.inference.endpoint import connect
    from components.settings import Settings

    endpoint = connect(config.endpoint, Settings(), config.timeout, config.retries)
    lm = EndpointLM(endpoint, stage.seed, config.concurrency, stage.events.progress)
    measure(config, inputs, stage, lm, None)
    if lm.refused:
        stage.events.warning(
            f"the endpoint refused {len(lm.refused)} requests, which count as wrong, truncated and unparsed; "
            f"the first: {lm.refused[0]}"
        )
