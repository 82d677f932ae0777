"""The routes of OpenAI's API with OpenAI's own client, against a real server; answers are held against transformers' own."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

from components.artifacts import ModelRef
from components.inference.server.errors import ApiError
from components.inference.server.messages import Setup
from components.inference.server.pool import Pool
from components.models.chat import prompt_ids
from components.models.load import load_model

ASK = [{"role": "user", "content": "Tom has 3 apples and buys 4. How many?"}]


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> tuple[Any, Any]:
    return load_model(ModelRef(tiny_llama, None, ""))


def greedy(model: tuple[Any, Any], ids: list[int], count: int) -> list[int]:
    """transformers' own answer."""
    with torch.no_grad():
        whole = model[0].generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False, pad_token_id=0)
    found: list[int] = whole[0, len(ids) :].tolist()
    return found


def extra(answer: Any, name: str) -> Any:
    return answer.model_extra[name]


def test_a_chat_is_rendered_as_in_training_and_answered_as_by_transformers(served: Any, model: Any, tiny_llama: Path) -> None:
    answer = served.client().chat.completions.create(
        model="tiny", messages=ASK, temperature=0, max_tokens=20, extra_body={"return_token_ids": True}
    )
    ids = prompt_ids(model[1], ASK)
    assert extra(answer, "prompt_token_ids") == ids
    assert extra(answer.choices[0], "token_ids") == greedy(model, ids, 20)
    assert answer.choices[0].message.content == model[1].decode(extra(answer.choices[0], "token_ids"), skip_special_tokens=True)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(ids), 20)
    own = extra(answer, "lapidar")
    assert own["version"] is None
    assert len(own["digest"]) == 64
    assert own["context"] == {
        "limit": 256, "asked": len(ids), "prompt": len(ids), "answer": 20, "dropped_turns": 0, "dropped_tokens": 0, "ratio": 0.0
    }  # fmt: skip
    assert 0 <= own["seconds"]["queued"] <= own["seconds"]["first_token"] <= own["seconds"]["total"] < 60


def test_a_stream_is_the_whole_answer_in_pieces(served: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": ASK, "temperature": 0.8, "seed": 4, "max_tokens": 60, "n": 3}
    whole = served.client().chat.completions.create(**asked)
    texts, finishes, last = [""] * 3, [None] * 3, None
    with served.client().chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                finishes[choice.index] = choice.finish_reason or finishes[choice.index]
                own = (chunk.model_extra or {}).get("lapidar") or {}
            last = chunk
    assert texts == [choice.message.content for choice in whole.choices]
    assert finishes == [choice.finish_reason for choice in whole.choices]
    assert len(set(texts)) == 3
    assert last is not None
    assert last.usage == whole.usage
    assert own["context"]["limit"] == 256


def test_a_stream_tells_at_once_which_weights_answer(served: Any) -> None:
    with served.client().chat.completions.create(model="tiny", messages=ASK, max_tokens=200, stream=True) as stream:
        first = extra(next(iter(stream)), "lapidar")
    assert first["version"] is None
    assert len(first["digest"]) == 64


def test_the_same_seed_gives_the_same_answer_and_none_another(served: Any) -> None:
    def say(**how: Any) -> str:
        found = served.client().completions.create(model="tiny", prompt="Question: ", max_tokens=40, temperature=1, **how)
        return str(found.choices[0].text)

    assert say(seed=1) == say(seed=1)
    assert say(seed=1) != say(seed=2)
    assert say() != say()


def test_an_answer_ends_before_its_stop_string_streamed_or_not(served: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": "Tom has", "max_tokens": 60, "temperature": 0}
    full = served.client().completions.create(**asked).choices[0].text
    stop = full[10:13]
    cut = served.client().completions.create(**asked, stop=[stop]).choices[0]
    assert (cut.text, cut.finish_reason) == (full[: full.find(stop)], "stop")
    streamed = "".join(chunk.choices[0].text for chunk in served.client().completions.create(**asked, stop=[stop], stream=True))
    assert streamed == cut.text


def test_prompts_of_a_completion_are_texts_or_tokens_one_or_many(served: Any, model: Any) -> None:
    ids = [model[1](text)["input_ids"] for text in ("Tom has", "Question: Ann")]
    asked: dict[str, Any] = {"model": "tiny", "max_tokens": 8, "temperature": 0, "extra_body": {"return_token_ids": True}}
    texts = served.client().completions.create(prompt=["Tom has", "Question: Ann"], n=2, **asked)
    assert [choice.index for choice in texts.choices] == [0, 1, 2, 3]
    assert [extra(choice, "token_ids") for choice in texts.choices] == [greedy(model, ids[i // 2], 8) for i in range(4)]
    tokens = served.client().completions.create(prompt=ids, **asked)
    assert [choice.text for choice in tokens.choices] == [texts.choices[0].text, texts.choices[2].text]
    assert tokens.usage.prompt_tokens == sum(map(len, ids))


@pytest.mark.parametrize("stream", [True, False])
def test_an_abandoned_request_is_dropped_at_once(served: Any, stream: bool) -> None:
    before = served.metric("lapidar_generated_tokens_total")
    body = {"model": "tiny", "prompt": "Tom has", "max_tokens": 240, "n": 64, "temperature": 1.5, "stream": stream}

    def leave(_: int) -> None:
        with suppress(httpx.ReadTimeout), httpx.stream("POST", f"{served.url}/v1/completions", json=body, timeout=0.4) as answer:
            next(answer.iter_lines())

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(leave, range(6)))
    limit = time.monotonic() + 5
    while served.metric("lapidar_running_requests") and time.monotonic() < limit:
        time.sleep(0.02)
    assert served.metric("lapidar_running_requests") == 0
    assert served.metric("lapidar_generated_tokens_total") - before < 6 * 64 * 240 / 3
    began = time.monotonic()
    served.client().completions.create(model="tiny", prompt="Tom", max_tokens=2)
    assert time.monotonic() - began < 5


def test_what_has_no_room_in_the_context(served: Any) -> None:
    talk = [{"role": "user" if i % 2 == 0 else "assistant", "content": f"Tom has {i} apples and buys more."} for i in range(31)]

    def ask(policy: str) -> Any:
        own = {"lapidar": {"context": {"policy": policy, "limit": 200}}}
        return served.client().chat.completions.create(model="tiny", messages=talk, max_tokens=20, extra_body=own)

    with pytest.raises(openai.BadRequestError, match="the limit is 200"):
        ask("error")
    dropped = extra(ask("drop_oldest"), "lapidar")["context"]
    assert dropped["dropped_turns"] > 0
    assert dropped["prompt"] + 20 <= 200 < dropped["asked"]
    assert extra(ask("window"), "lapidar")["context"]["prompt"] == 180


def test_models_are_listed_and_found_by_name(served: Any) -> None:
    assert {each.id for each in served.client().models.list()} == {"tiny", "again"}
    assert extra(served.client().models.retrieve("tiny"), "lapidar")["loaded"] is True
    for ask in (
        lambda: served.client().models.retrieve("other"),
        lambda: chat(served, "other"),
        lambda: chat(served, "other@champion"),
    ):
        with pytest.raises(openai.NotFoundError, match="there is no model 'other"):
            ask()


def chat(served: Any, model: str, **how: Any) -> Any:
    return served.client().chat.completions.create(model=model, messages=ASK, temperature=0, max_tokens=12, **how)


def test_a_model_behind_another_endpoint_answers_as_if_it_were_here(served: Any) -> None:
    here, there = chat(served, "tiny"), chat(served, "again")
    assert there.model == "again"
    assert there.choices == here.choices
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chat(served, "again", stream=True) if chunk.choices) == (
        here.choices[0].message.content
    )
    with pytest.raises(openai.BadRequestError, match="again at http"):
        chat(served, "again", n=1000)
    with pytest.raises(openai.BadRequestError, match="another endpoint"):
        chat(served, "again", extra_body={"lapidar": {"context": {"policy": "window"}}})


def test_metrics_count_what_was_done(served: Any) -> None:
    names = ["requests_total", "prompt_tokens_total", "generated_tokens_total", "first_token_seconds_count"]
    before = {name: served.metric(f"lapidar_{name}") for name in names}
    answer = chat(served, "tiny")
    after = {name: served.metric(f"lapidar_{name}") for name in names}
    gained = {name: after[name] - before[name] for name in names}
    assert gained["prompt_tokens_total"] == answer.usage.prompt_tokens
    assert gained["generated_tokens_total"] == answer.usage.completion_tokens
    assert gained["first_token_seconds_count"] == 1
    assert gained["requests_total"] >= 1
    assert served.metric("lapidar_models_loaded") == 1
    assert served.metric("lapidar_model_memory_bytes") > 50 << 20
    assert served.metric("lapidar_queue_length") == 0


def test_views_come_as_documents(served: Any) -> None:
    body = {"model": "tiny", "view": "logit_lens", "settings": {"top": 2}, "prompt": "Tom has 3", "answer": "", "chat": False}
    document = served.post("/lapidar/inspect", json=body).json()
    assert document["view"] == "logit_lens"
    assert document["columns"]
    for wrong, words in (
        ({"view": "other"}, "no method"),
        ({"settings": {"tip": 2}}, "no setting"),
        ({"prompt": ""}, "give a prompt"),
    ):
        refused = served.post("/lapidar/inspect", json=body | wrong)
        assert refused.status_code == 400
        assert words in refused.json()["error"]["message"]


@pytest.mark.slow
def test_a_model_that_cant_be_loaded_ends_the_start(serve: Callable[..., Any], tiny_llama: Path, tmp_path: Path) -> None:
    """Its files are whole, but its config asks for a layer that they don't have."""
    config = shutil.copytree(tiny_llama, tmp_path / "taller") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_bytes()) | {"num_hidden_layers": 9}))
    server = serve(f"good={tiny_llama}", f"bad={tmp_path / 'taller'}")
    assert server.process.wait(60) == 2
    assert "isn't whole" in (said := server.log.read_text().strip().splitlines()[-1])
    assert said.startswith("lapidar: bad can't be loaded: ")


def test_weights_that_cant_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"short")

    async def load() -> None:
        async with Pool(1 << 40, 1).use("key", "bad", Setup(str(tmp_path), {}, "cpu")):
            pass

    with pytest.raises(ApiError, match="bad can't be loaded: its weights can't be read"):
        asyncio.run(load())


def test_adapters_answer_side_by_side_over_one_base(adapted: Any, tiny_sft: ModelRef) -> None:
    from components.inference.dequantize import dequantize

    assert len(adapted.models()) == 1
    models = {"base": load_model(ModelRef(tiny_sft.base, None, "")), "base+sft": load_model(tiny_sft)}
    for each in models.values():
        dequantize(each[0])

    def ask(name: str) -> list[int]:
        answer = adapted.client().completions.create(
            model=name, prompt="Question: Tom", max_tokens=40, temperature=0, extra_body={"return_token_ids": True}
        )
        found: list[int] = extra(answer.choices[0], "token_ids")
        return found

    with ThreadPoolExecutor(9) as threads:
        answers = list(threads.map(ask, ["base", "base+sft", "base+strong"] * 3))
    assert answers[:3] == answers[3:6] == answers[6:]
    assert len(set(map(tuple, answers[:3]))) == 3
    ids = models["base"][1]("Question: Tom")["input_ids"]
    assert answers[0] == greedy(models["base"], ids, 40)
    assert answers[1] == greedy(models["base+sft"], ids, 40)
