from __future__ import annotations

import pytest

from components.chat_settings import ChatSettings, kv_settings
from components.errors import InputError
from components.inference.client import Ask

ASKED = [{"role": "user", "content": "2 + 2?"}]


def test_every_setting_reaches_the_request() -> None:
    chosen = ChatSettings(
        model="m@champion", system="Be brief.", examples="1 + 1? => 2", steps="ask", max_tokens=9, temperature=0.5, top_p=0.9,
        top_k=4, min_p=0.1, repetition_penalty=1.2, seed=3, stop="\\n\nEnd", context="window", limit=64,
        kv={"method": "window", "ratio": 0.25}, samples=3, alternatives=5,
    )  # fmt: skip
    messages = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1 + 1?\n\nLet's think step by step."},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2 + 2?\n\nLet's think step by step."},
    )
    kv = {"method": "window", "ratio": 0.25, "sinks": 4}
    assert chosen.ask(ASKED) == Ask("m@champion", messages, 9, 0.5, 0.9, 4, 0.1, 1.2, 3, ("\\n", "End"), 3, 5, "window", 64, kv)


def test_only_what_was_changed_is_kept_and_comes_back() -> None:
    chosen = ChatSettings(model="m/1", temperature=0.0, kv={"method": "quantized", "ratio": 0.5})
    assert chosen.changed() == {"model": "m/1", "temperature": 0.0, "kv": {"method": "quantized", "ratio": 0.5}}
    assert ChatSettings.kept(chosen.changed()) == chosen


def test_settings_of_another_version_are_read_as_far_as_they_are_known() -> None:
    assert ChatSettings.kept({"model": "m", "heat": 3, "top_p": 7, "steps": "dance"}) == ChatSettings(model="m")


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (ChatSettings(), "no model is chosen"),
        (ChatSettings(model="m", samples=3, temperature=0), "3 samples at temperature 0"),
        (ChatSettings(model="m", examples="what"), "line 1 of the examples"),
        (ChatSettings(model="m", reader="mind"), "can't be read by 'mind'"),
        (ChatSettings(model="m", kv={"method": "window", "ratio": 2}), "kv.ratio=2"),
        (ChatSettings(model="m", kv={"method": "magic"}), "magic"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_server_is_asked(chosen: ChatSettings, said: str) -> None:
    with pytest.raises(InputError, match=said):
        chosen.ask(ASKED)


def test_the_full_cache_needs_no_settings() -> None:
    assert kv_settings({}) is None
    assert kv_settings({"method": "full"}) is None
