"""Shared fixtures: real parts made tiny."""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components import recipe
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.data import prepare
from components.events import EventWriter
from components.recipe import Recipe
from components.settings import Settings
from components.stage import Stage
from tests.listening import Listening

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a second thread only waits where models are this small
os.environ.setdefault("LAPIDAR_THREADS", "1")
# Compiled once for all tests, whose homes come and go.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"lapidar-numba-{os.getuid()}"))
# An eighth of the tests' time went into collections that went through the libraries' objects and found nothing.
gc.set_threshold(50_000, 20, 20)

TINY = Path(__file__).parent / "recipes" / "tiny.yaml"
STORIES = Settings().shared / "models" / "stories260K"

TEXTS = [
    f"Question: Tom has {a} apples and buys {b}. How many?\nAnswer: {a} + {b} = {a + b}. The answer is {a + b}."
    for a in range(9)
    for b in range(9)
]


def pytest_collection_finish() -> None:
    """What is imported by now lives as long as the process."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer Llama (64 wide) with its own tokenizer and chat template."""
    import torch

    from components.models.chat import choose_template
    from components.models.sources.pretrain import Config, new_model, train_tokenizer

    config = Config(hidden_size=64, intermediate_size=128, layers=2, heads=4, kv_heads=2, vocab_size=320, context=256)
    tokenizer = train_tokenizer(TEXTS, config)
    choose_template(tokenizer, "auto")
    torch.manual_seed(0)
    model = new_model(config, tokenizer)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a real PostgreSQL that lives as long as the tests."""
    from tests import postgres

    if why := postgres.absent():
        pytest.skip(why)
    with postgres.running() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The same with an empty database."""
    from tests import postgres

    postgres.empty(postgres_server)
    return postgres_server


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """The real pretrained model of the shared folder."""
    if not STORIES.is_dir():
        pytest.skip(f"{STORIES} isn't there; set LAPIDAR_SHARED to the folder with the shared models")
    return STORIES


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """The recipe whose every stage is tiny."""
    return recipe.load(str(TINY))


@pytest.fixture(scope="session")
def tiny_data(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> DatasetRef:
    """Its dataset, all five splits."""
    folder = tmp_path_factory.mktemp("tiny-data") / "data"
    prepare.build(tiny_recipe.data, folder, Settings())
    return DatasetRef(folder, "", prepare.read_splits(folder), folder, None)


def empty_stage(folder: Path, seed: int = 0) -> Stage:
    """A stage that may begin."""
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir()
    return Stage(folder / "out", folder / "work", seed, "cpu", EventWriter(folder / "events.jsonl"))


@pytest.fixture
def new_stage(tmp_path: Path) -> Callable[..., Stage]:
    """Makes empty stages with a seed."""
    made: list[Stage] = []

    def make(seed: int = 0) -> Stage:
        made.append(empty_stage(tmp_path / f"stage{len(made)}", seed))
        return made[-1]

    return make


@pytest.fixture(scope="session")
def tiny_nf4(tiny_llama: Path, tiny_data: DatasetRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """The tiny Llama in 4 bits."""
    from components.quantize import nf4

    stage = empty_stage(tmp_path_factory.mktemp("tiny-nf4") / "stage")
    nf4.run(nf4.Config(), Inputs(tiny_data, {"model": ModelRef(tiny_llama, None, "")}), stage)
    return ModelRef(stage.out / "model", None, "nf4")


@pytest.fixture(scope="session")
def tiny_sft(tiny_nf4: ModelRef, tiny_data: DatasetRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """The same with an adapter that SFT has trained."""
    import torch

    from components.adapters.lora import Config as LoraConfig
    from components.train import sft

    torch.manual_seed(0)
    stage = empty_stage(tmp_path_factory.mktemp("tiny-sft") / "stage")
    config = sft.Config(lr=1e-2, batch_size=8, max_steps=10, logging_every=5, adapter=LoraConfig(r=4, alpha=8))
    sft.run(config, Inputs(tiny_data, {"model": tiny_nf4}), stage)
    return ModelRef(tiny_nf4.base, stage.out / "adapter", "sft")


def streamed_answer(say: str | list[tuple[str, str]], finish: str = "stop", pause: float = 0.0) -> Any:
    """An answer as OpenAI's API streams it: the words of a text, or calls (name, arguments), each in pieces.

    Args:
        pause: seconds after each piece.
    """
    from starlette.responses import StreamingResponse

    def deltas() -> Iterator[dict[str, Any]]:
        if isinstance(say, str):
            yield from ({"content": word} for word in say.split(" "))
            return
        for i, (name, arguments) in enumerate(say):
            half = len(arguments) // 2
            yield {"tool_calls": [{"index": i, "id": f"call{i}", "type": "function", "function": {"name": name, "arguments": ""}}]}
            yield {"tool_calls": [{"index": i, "function": {"arguments": arguments[:half]}}]}
            yield {"tool_calls": [{"index": i, "function": {"arguments": arguments[half:]}}]}

    def lines() -> Iterator[str]:
        base = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        for delta in deltas():
            yield f"data: {json.dumps(base | {'choices': [{'index': 0, 'delta': delta, 'finish_reason': None}]})}\n\n"
            time.sleep(pause)
        ended = "tool_calls" if isinstance(say, list) else finish
        yield f"data: {json.dumps(base | {'choices': [{'index': 0, 'delta': {}, 'finish_reason': ended}]})}\n\n"
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        yield f"data: {json.dumps(base | {'choices': [], 'usage': usage, 'lapidar': {'reused_tokens': 3}})}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


@pytest.fixture(scope="session")
def streamed() -> Callable[..., Any]:
    """Makes streamed answers for ``chat_server``; see ``streamed_answer``."""
    return streamed_answer


class ChatServer(Listening):
    """A real OpenAI-compatible server on loopback, in a thread of its own.

    ``answer`` gets a request's body and returns the text to say, a list of texts (one a choice), or a whole response; what is to
    be streamed as ``streamed_answer`` takes it.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], Any]) -> None:
        from fastapi import FastAPI, Request
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import JSONResponse, Response

        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        app = FastAPI()

        async def completions(request: Request) -> Any:
            body = await request.json()
            self.requests.append(body)
            self.headers.append(dict(request.headers))
            said = await run_in_threadpool(answer, body)
            if isinstance(said, Response):
                return said
            if body.get("stream"):
                return streamed_answer(said)
            texts = said if isinstance(said, list) else [said]
            choices = [
                {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                for i, text in enumerate(texts)
            ]
            usage = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
            return JSONResponse(
                {"id": "1", "object": "chat.completion", "model": body["model"], "choices": choices, "usage": usage}
            )

        app.add_route("/v1/chat/completions", completions, methods=["POST"])
        super().__init__(app)
        self.url += "/v1"


@pytest.fixture
def chat_server() -> Iterator[Callable[..., ChatServer]]:
    """Starts OpenAI-compatible servers: ``chat_server(answer)``; see ``ChatServer``."""
    servers: list[ChatServer] = []

    def start(answer: Callable[[dict[str, Any]], Any]) -> ChatServer:
        servers.append(ChatServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.leave()
    for server in servers:
        server.stop()
