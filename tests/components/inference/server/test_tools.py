"""A model that was trained to call a tool, over HTTP: from the template with tools to the call, its result, and the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.agents import prompts, toolfiles
from components.agents.loop import Called, Ended, Loop, Returned
from components.agents.toolbox import Toolbox
from components.inference.client import Ask, Client

pytestmark = pytest.mark.slow
TOOLS = [dict(tool.definition) for tool in toolfiles.find("calculator")]
PAIRS = [(6, 7), (8, 9)]
SEVERAL = "6*7? 8*9?"


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def call(expression: str) -> str:
    return f'<tool_call>\n{{"name": "calculator", "arguments": {{"expression": "{expression}"}}}}\n</tool_call>'


def lessons() -> list[tuple[list[dict[str, Any]], str]]:
    """(conversation, what the model has to say next)."""
    found: list[tuple[list[dict[str, Any]], str]] = []
    for a, b in PAIRS:
        function = {"name": "calculator", "arguments": json.dumps({"expression": f"{a}*{b}"})}
        made = {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
        result = {"role": "tool", "tool_call_id": "1", "content": str(a * b)}
        found.append(([user(f"{a}*{b}?")], call(f"{a}*{b}")))
        found.append(([user(f"{a}*{b}?"), made, result], f"It is {a * b}."))
    return [*found, ([user(SEVERAL)], f"{call('6*7')}\n{call('8*9')}")]


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small Llama with 2,048 tokens of context that knows the lessons by heart."""
    import torch

    from components.inference.workers import single_threaded
    from components.models.chat import choose_template
    from components.models.sources.pretrain import Config, new_model, train_tokenizer

    config = Config(hidden_size=64, intermediate_size=128, layers=2, heads=4, kv_heads=2, vocab_size=640, context=2048)
    texts = [prompts.SYSTEM.format(tools=json.dumps(TOOLS[0]["function"]))] * 3 + [said for _, said in lessons()] * 3
    tokenizer = train_tokenizer(texts, config)
    choose_template(tokenizer, "plain")
    torch.manual_seed(0)
    model = new_model(config, tokenizer).train()
    rows = []
    for conversation, said in lessons():
        prompt = prompts.prompt_ids(tokenizer, conversation, TOOLS)
        answer = tokenizer(f" {said}", add_special_tokens=False)["input_ids"]
        rows.append((prompt, [i for i in answer if i != tokenizer.eos_token_id] + [tokenizer.eos_token_id]))
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.tensor([[*prompt, *answer] + [0] * (length - len(prompt) - len(answer)) for prompt, answer in rows])
    labels = torch.tensor(
        [[-100] * len(prompt) + answer + [-100] * (length - len(prompt) - len(answer)) for prompt, answer in rows]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    with single_threaded():
        for _ in range(400):
            loss = model(input_ids=ids, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if loss.item() < 0.02:
                break
    folder = tmp_path_factory.mktemp("caller") / "model"
    model.eval().save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def calling(serve: Callable[..., Any], caller: Path) -> Any:
    return serve(f"caller={caller}").wait()


def chat(calling: Any, messages: list[Any], **how: Any) -> Any:
    return calling.client().chat.completions.create(
        model="caller", messages=messages, tools=TOOLS, temperature=0, max_tokens=100, **how
    )


def test_the_openai_client_gets_a_call_and_gives_its_result(calling: Any) -> None:
    messages: list[Any] = [user("8*9?")]
    first = chat(calling, messages).choices[0]
    assert (first.finish_reason, first.message.content) == ("tool_calls", None)
    (made,) = first.message.tool_calls
    assert (made.function.name, json.loads(made.function.arguments)) == ("calculator", {"expression": "8*9"})
    messages += [first.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": made.id, "content": "72"}]
    last = chat(calling, messages).choices[0]
    assert (last.finish_reason, last.message.content.strip(), last.message.tool_calls) == ("stop", "It is 72.", None)


def test_a_streamed_call_is_the_same(calling: Any) -> None:
    chunks = [chunk.choices[0] for chunk in chat(calling, [user("6*7?")], stream=True)]
    (made,) = [made for chunk in chunks for made in chunk.delta.tool_calls or []]
    assert json.loads(made.function.arguments) == {"expression": "6*7"}
    assert "".join(chunk.delta.content or "" for chunk in chunks) == ""
    assert chunks[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
def test_one_call_at_a_time_is_one(calling: Any, stream: bool) -> None:
    def expressions(**how: Any) -> list[str]:
        answer = chat(calling, [user(SEVERAL)], stream=stream, **how)
        choices = [chunk.choices[0] for chunk in answer] if stream else [answer.choices[0]]
        assert choices[-1].finish_reason == "tool_calls"
        said = [choice.delta if stream else choice.message for choice in choices]
        assert not "".join(each.content or "" for each in said).strip()
        return [json.loads(made.function.arguments)["expression"] for each in said for made in each.tool_calls or []]

    assert expressions() == expressions(parallel_tool_calls=True) == ["6*7", "8*9"]
    assert expressions(parallel_tool_calls=False) == ["6*7"]


def test_a_forced_call_follows_the_tools_schema(calling: Any) -> None:
    """Also where the model would have answered in words."""
    asked = [user("6*7?"), {"role": "assistant", "content": "It is 42."}, user("Thanks.")]
    answer = chat(calling, asked, tool_choice={"type": "function", "function": {"name": "calculator"}}, parallel_tool_calls=False)
    if answer.choices[0].finish_reason == "tool_calls":
        (made,) = answer.choices[0].message.tool_calls
        assert list(json.loads(made.function.arguments)) == ["expression"]
    else:  # an expression without end
        assert answer.choices[0].finish_reason == "length"
    assert not chat(calling, asked, tool_choice="none").choices[0].message.tool_calls


def test_the_loop_runs_what_the_model_calls(calling: Any) -> None:
    client = Client(f"{calling.url}/v1")
    ask = Ask("caller", (user("6*7?"),), temperature=0.0, max_tokens=100)
    events = list(Loop(client, ask, Toolbox(toolfiles.find("calculator"))))
    assert [event for event in events if isinstance(event, Called)] == [Called(1, "calculator", '{"expression": "6*7"}')]
    assert [(event.text, event.ok) for event in events if isinstance(event, Returned)] == [("42", True)]
    end = events[-1]
    assert isinstance(end, Ended)
    assert (end.reason, end.steps) == ("answer", 2)
    assert [message["role"] for message in end.messages] == ["assistant", "tool", "assistant"]
    assert end.messages[-1]["content"].strip() == "It is 42."
