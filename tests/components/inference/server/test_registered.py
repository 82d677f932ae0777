"""Registered versions on a server with little memory: aliases that move, adapters beside their base, unloading, a full queue."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse

from components.artifacts import ModelRef
from components.gate import Evidence, Gate
from components.inspection import inspect
from components.models.load import load_model, load_tokenizer
from components.models.open import open_model
from components.models.plain import plain_model
from components.registry import Override, Registry
from components.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_sft: ModelRef, tiny_llama: Path) -> Path:
    """Two versions, one trained as an adapter, and the model before quantization; the first is champion. And ``remote``."""
    home = tmp_path_factory.mktemp("registered") / "home"
    merged = home.parent / "merged"
    plain_model(tiny_sft, "cpu").save_pretrained(str(merged))
    load_tokenizer(tiny_sft.base).save_pretrained(str(merged))
    assert tiny_sft.adapter is not None
    registry = Registry(Settings(home=home))
    versions = [("tiny", "d1", {"merged": merged, "adapter": tiny_sft.adapter}), ("tiny", "d2", {"merged": tiny_llama})]
    for name, digest, folders in [*versions, ("remote", "d3", {"merged": tiny_llama})]:
        handle = registry.upload(name, folders, digest)
        stages = [{"name": "sft", "method": "sft", "key": "k" * 64}]
        evidence = Evidence(digest=digest, dataset={}, recipe={"name": name}, stages=stages, evaluation={}, parity={"ok": True})
        registry.register(handle, evidence, Gate("pass", [], digest, None))
    promote(registry, "1")
    return home


def promote(registry: Registry, version: str) -> None:
    gate = Gate("fail", [], f"d{version}", None)
    registry.promote("tiny", version, gate, Override("somebody", "for this test"))


@pytest.fixture(scope="module")
def small(serve: Callable[..., Any], home: Path) -> Any:
    """A server with room for one model and a queue of two."""
    return serve("--memory", "700MiB", "--queue", "2", home=home).wait()


def ask(server: Any, model: str, tokens: int = 4) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Tom has 3 apples."}], "max_tokens": tokens, "temperature": 0}
    found: httpx.Response = server.post("/v1/chat/completions", json=body)
    return found


def test_a_moved_alias_answers_from_the_other_version_without_a_restart(small: Any, home: Path) -> None:
    before = small.process.pid
    assert ask(small, "tiny@champion").json()["lapidar"]["version"] == "models:/tiny/1"
    promote(Registry(Settings(home=home)), "2")
    answer = ask(small, "tiny@champion").json()
    assert answer["lapidar"]["version"] == "models:/tiny/2"
    assert answer["choices"][0]["message"]["content"] == ask(small, "tiny/2").json()["choices"][0]["message"]["content"]
    assert (small.process.pid, small.process.poll()) == (before, None)


def test_the_least_recently_used_model_makes_room(small: Any) -> None:
    for model in ("tiny/1", "tiny/2", "models:/tiny/1"):
        assert ask(small, model).status_code == 200
        assert len(small.models()) == 1
        assert small.metric("lapidar_models_loaded") == 1


def test_an_adapter_is_looked_at_beside_its_base(small: Any, home: Path) -> None:
    asked = {"model": "tiny/1", "view": "adapter", "settings": {}, "prompt": "", "answer": "", "chat": False}
    found = small.post("/lapidar/inspect", json=asked)
    assert found.status_code == 200, found.text
    model, tokenizer = open_model("models:/tiny/1", Settings(home=home), unmerged=True)
    expected = inspect("adapter", {}, model, tokenizer).to_dict()
    facts, wanted = found.json()["facts"], expected["facts"]
    assert facts["frobenius"] == pytest.approx(wanted["frobenius"], rel=1e-5)
    assert (facts["modules"], facts["r"], facts["kinds"]) == (wanted["modules"], wanted["r"], wanted["kinds"])
    assert len(found.json()["columns"]) == len(expected["columns"])
    refused = small.post("/lapidar/inspect", json=asked | {"model": "tiny/2"})
    assert refused.status_code == 400
    assert "adapter" in refused.json()["error"]["message"]


def test_a_full_queue_says_when_to_ask_again(small: Any) -> None:
    assert ask(small, "tiny/2").status_code == 200  # so that the other one has to be loaded, and all come meanwhile
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(small, "tiny/1", 200))) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = Counter(answer.status_code for answer in answers)
    assert set(codes) == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.json()["error"]["code"] == "queue_full"
    assert ask(small, "tiny/1").status_code == 200


def test_what_is_served_is_the_registered_model(small: Any, home: Path) -> None:
    import torch

    from components.models.chat import prompt_ids
    from components.models.resolve import resolve
    from components.recipe import ModelConfig

    ref = resolve(ModelConfig(source="models:/tiny/1"), Settings(home=home))
    assert ref is not None
    model, tokenizer = load_model(ref)
    prompt = prompt_ids(tokenizer, [{"role": "user", "content": "Tom has 3 apples."}])
    body = {"model": "tiny/1", "messages": [{"role": "user", "content": "Tom has 3 apples."}], "max_tokens": 16, "temperature": 0}
    choice = small.post("/v1/chat/completions", json=body | {"return_token_ids": True}).json()
    with torch.inference_mode():
        expected = model.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False)[0, len(prompt) :].tolist()
    assert choice["prompt_token_ids"] == prompt
    assert choice["choices"][0]["token_ids"] == expected


def test_tokens_are_asked_for_and_a_versions_tag_gets_none(
    serve: Callable[..., Any], chat_server: Callable[..., Any], home: Path
) -> None:
    """The upstream endpoint asks for the token that this server has for endpoints."""

    def guarded(body: dict[str, Any]) -> Any:
        return "well" if upstream.headers[-1].get("authorization") == "Bearer endpoint-secret" else JSONResponse({}, 401)

    upstream = chat_server(guarded)
    Registry(Settings(home=home)).note("models:/remote/1", {"lapidar.endpoint": f"{upstream.url}#m"})
    secrets = {"LAPIDAR_SERVER_TOKEN": "server-secret", "LAPIDAR_ENDPOINT_TOKEN": "endpoint-secret"}
    server = serve(f"named={upstream.url}#m", home=home, **secrets).wait()
    bound = serve(home=home, **secrets, LAPIDAR_ENDPOINT_URL=upstream.url).wait()

    def say(to: Any, model: str, token: str | None, path: str = "/v1/chat/completions") -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        found: httpx.Response = to.post(path, json=body, headers={"Authorization": f"Bearer {token}"} if token else {})
        return found

    for path in ("/v1/chat/completions", "/v1/completions", "/lapidar/inspect"):
        for token in (None, "wrong-secret", "endpoint-secret"):
            refused = say(server, "named", token, path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert refused.json()["error"]["code"] == "invalid_api_key"
    for path in ("/v1/models", "/v1/models/remote/1", "/metrics"):
        assert httpx.get(f"{server.url}{path}").status_code == 401
    assert not upstream.requests
    assert say(server, "named", "server-secret").json()["choices"][0]["message"]["content"] == "well"
    told = say(server, "remote/1", "server-secret")
    assert told.status_code == 502
    assert "no token was sent" in told.json()["error"]["message"]
    assert "authorization" not in upstream.headers[-1]
    answer = say(bound, "remote/1", "server-secret").json()
    assert answer["choices"][0]["message"]["content"] == "well"
    assert (answer["model"], answer["lapidar"]["version"]) == ("remote/1", "models:/remote/1")
    assert "server-secret" not in str(upstream.headers)
