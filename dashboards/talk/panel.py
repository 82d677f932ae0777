"""The settings of an answer as widgets, in four groups: sampling, context and cache, prompt, samples and tokens.

Widgets belong to a ``scope`` (a conversation, a page), so that two conversations never share a setting. Where they begin is what
they are given as their default: what session state says reaches the browser once, and a panel that is opened later misses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import streamlit as st

from components import methods, prompting
from components.chat_settings import ChatSettings
from components.consistency import READERS
from components.inference.reading import ModelCard
from dashboards.ui.text import t

_KEEPING = """
export default function ({ parentElement }) {
  const leave = (event) => {
    const field = document.activeElement, body = field?.closest("[data-testid=stPopoverBody]");
    if (event.key !== "Escape" || !body || !field.matches("input, textarea")) return;
    event.stopImmediatePropagation();
    field.blur();
    const again = new KeyboardEvent("keydown", { key: "Escape", code: "Escape", bubbles: true, cancelable: true });
    requestAnimationFrame(() => requestAnimationFrame(() => body.dispatchEvent(again)));
  };
  window.addEventListener("keydown", leave, true);
  parentElement.querySelector("i").className = "listening";
  return () => window.removeEventListener("keydown", leave, true);
}
"""
_POLICIES = ("error", "drop_oldest", "window", "compress")


def model(scope: str, name: str, cards: Sequence[ModelCard], value: str, optional: bool = False) -> str:
    """Chooses a model: one that the server lists, or any registered version or alias by its name.

    Args:
        name: of the choice on the page; also its word in the catalogue.
        optional: whether none may be chosen.
    """
    options = _models(cards, value)
    begin(scope, name, cards, value, optional)
    chosen = st.selectbox(
        t(f"talk.set_{name}"),
        options,
        key=_key(scope, name),
        index=None,
        placeholder=t("talk.beside_none") if optional else t("talk.model_placeholder"),
        accept_new_options=True,
        help=t(f"talk.about_{name}"),
    )
    return (chosen or "").strip()


def begin(scope: str, name: str, cards: Sequence[ModelCard], value: str, optional: bool = False) -> str:
    """The model that ``model`` shows, which may be drawn later; empty for none."""
    options = _models(cards, value)
    st.session_state.setdefault(_key(scope, name), value or (None if optional or not options else options[0]))
    return str(st.session_state[_key(scope, name)] or "").strip()


def _models(cards: Sequence[ModelCard], value: str) -> list[str]:
    return list(dict.fromkeys([*(card.id for card in cards), *([value] if value else [])]))


def keep_typed() -> None:
    """Leaves a field before Escape closes what it stands in: Streamlit takes over what is typed when a field is left, and a field
    that vanishes isn't left. Stands outside of what closes, so that it listens before anything can be typed; once on a page.
    """
    _keeping()(key="talk.keeping")  # Streamlit refuses a component's key that holds "__", as a conversation's id may


def panel(scope: str, kept: ChatSettings, tools: Sequence[str] = (), samples: bool = True) -> dict[str, Any]:
    """Draws all settings but the model.

    Args:
        kept: where the widgets begin.
        tools: names of the tools that there are.
        samples: whether several answers to one question make sense here.

    Returns:
        Values for ``ChatSettings``.
    """
    names = ["sampling", "context", "prompt", *(["samples"] if samples else [])]
    tabs = st.tabs([t(f"talk.tab_{name}") for name in names])
    with tabs[0]:
        found = _sampling(scope, kept)
    with tabs[1]:
        found |= _context(scope, kept)
    with tabs[2]:
        found |= _prompt(scope, kept, tools)
    if samples:
        with tabs[3]:
            found |= _samples(scope, kept)
    return found


def _sampling(scope: str, kept: ChatSettings) -> dict[str, Any]:
    left, right = st.columns(2)
    with left:
        found = {
            "temperature": _number(scope, "temperature", kept.temperature, 0.0, 5.0, 0.1),
            "top_k": _number(scope, "top_k", kept.top_k, 0, 100_000, 1),
            "repetition_penalty": _number(scope, "repetition_penalty", kept.repetition_penalty, 0.1, 5.0, 0.05),
            "max_tokens": _number(scope, "max_tokens", kept.max_tokens, 1, 32_768, 16),
        }
    with right:
        found |= {
            "top_p": _number(scope, "top_p", kept.top_p, 0.01, 1.0, 0.05),
            "min_p": _number(scope, "min_p", kept.min_p, 0.0, 1.0, 0.05),
            "seed": _number(scope, "seed", kept.seed, 0, 2**32 - 1, 1),
            "alternatives": _number(scope, "alternatives", kept.alternatives, 0, 20, 1),
        }
    found["stop"] = st.text_area(
        t("talk.stop_strings"), kept.stop, key=_key(scope, "stop"), height=68, help=t("talk.stop_strings_help")
    )
    return found


def _context(scope: str, kept: ChatSettings) -> dict[str, Any]:
    policies = {name: t(f"talk.policy_{name}") for name in _POLICIES}
    policy = _choice(scope, "context", t("talk.policy"), policies, kept.context, t("talk.policy_help"))
    found = {"context": policy, "limit": _number(scope, "limit", kept.limit, 0, 10_000_000, 64)}
    known = ["full", *(name for name in methods.names("kv") if name != "full")]
    caches = {name: t(f"talk.kv_{name}") for name in known}
    name = _choice(scope, "kv", t("talk.kv"), caches, str(kept.kv.get("method", "full")), t("talk.kv_help"))
    return found | {"kv": {} if name == "full" else _kv(scope, name, kept)}


def _kv(scope: str, name: str, kept: ChatSettings) -> dict[str, Any]:
    """The settings of a KV cache method, whatever it has: its Config says which, and between which bounds."""
    before = kept.kv if kept.kv.get("method") == name else {}
    found: dict[str, Any] = {"method": name}
    columns = st.columns(2)
    fields = [(key, field) for key, field in methods.load("kv", name).Config.model_fields.items() if key != "method"]
    for place, (key, field) in enumerate(fields):
        step: float = 1 if field.annotation is int else 0.05
        low, high = _bound(field, "ge"), _bound(field, "le")
        if (below := _bound(field, "lt")) is not None:
            high = below - step
        with columns[place % 2]:
            label = t(f"talk.kvset_{key}")
            found[key] = _number(scope, f"kv.{name}.{key}", before.get(key, field.default), low, high, step, label)
    return found


def _bound(field: Any, name: str) -> Any:
    """A field's limit, as the type of its default."""
    values = (getattr(bound, name, None) for bound in field.metadata)
    return next((type(field.default)(value) for value in values if value is not None), None)


def _prompt(scope: str, kept: ChatSettings, tools: Sequence[str]) -> dict[str, Any]:
    asked = {name: t(f"talk.steps_{name}") for name in prompting.STEPS}
    found: dict[str, Any] = {
        "system": st.text_area(t("talk.system"), kept.system, key=_key(scope, "system"), height=80, max_chars=20_000),
        "examples": st.text_area(
            t("talk.examples"),
            kept.examples,
            key=_key(scope, "examples"),
            height=110,
            help=t("talk.examples_help"),
            max_chars=50_000,
        ),
        "steps": st.radio(
            t("talk.steps"),
            list(asked),
            list(asked).index(kept.steps),
            key=_key(scope, "steps"),
            format_func=asked.__getitem__,
        ),
    }
    if tools:
        chosen = st.pills(
            t("talk.tools"),
            tools,
            default=[name for name in kept.tools if name in tools],
            key=_key(scope, "tools"),
            selection_mode="multi",
            help=t("talk.tools_help"),
        )
        found["tools"] = tuple(chosen)
        if "retrieval" in chosen:
            found["data"] = st.text_input(t("talk.data"), kept.data, key=_key(scope, "data"), help=t("talk.data_help"))
    return found


def _samples(scope: str, kept: ChatSettings) -> dict[str, Any]:
    st.caption(t("talk.samples_about"))
    return {
        "samples": _number(scope, "samples", kept.samples, 1, 16, 1),
        "reader": _choice(scope, "reader", t("talk.reader"), {name: t(f"talk.rule_{name}") for name in READERS}, kept.reader),
        "target": st.text_input(t("talk.target"), kept.target, key=_key(scope, "target"), help=t("talk.target_help")),
    }


def _choice(scope: str, name: str, label: str, words: Mapping[str, str], value: str, explained: str | None = None) -> str:
    """One of several names, each shown by its words."""
    place = list(words).index(value) if value in words else 0
    return str(st.selectbox(label, list(words), place, key=_key(scope, name), format_func=words.__getitem__, help=explained))


def _number(scope: str, name: str, value: Any, low: Any, high: Any, step: Any, label: str | None = None) -> Any:
    draw: Any = st.number_input  # its overloads tell whole numbers from others; here the bounds' type does
    words = {"help": t(f"talk.about_{name}")} if label is None else {}
    return draw(label or t(f"talk.set_{name}"), low, high, value=value, step=step, key=_key(scope, name), **words)


@cache
def _keeping() -> Any:
    return st.components.v2.component("lapidar.keeping", html="<i hidden></i>", js=_KEEPING)


def _key(scope: str, name: str) -> str:
    return f"talk.{scope}.{name}"
