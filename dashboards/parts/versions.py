"""Registered versions on a page: the registry, asked once in a while, and the choice of a version, which stays in the address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import local_services
from components.settings import Settings
from dashboards import ui
from dashboards.ui import page_state, states
from dashboards.ui.text import t

if TYPE_CHECKING:
    from components.registry import Registry
    from components.versions import Version

_SECONDS = 5.0
"""How long MLflow may not answer; a reader waits for it."""
_KEPT = 15
"""Seconds for which an answer is shown again; whoever changes something on a page clears them (``forget``)."""


def registry(settings: Settings) -> Registry | None:
    """The registry; None where nothing was ever tracked, so that looking makes no database."""
    from components.registry import Registry

    address = local_services.address(settings, "mlflow")
    if not (settings.tracking_uri or address or (settings.services / "mlflow.db").exists()):
        return None
    return Registry(settings, address, seconds=_SECONDS)


def all_versions() -> list[Version]:
    """Every registered version, newest first."""
    return _all(_place())


def shown(uri: str) -> dict[str, Any]:
    """All that a version carries, see ``Registry.show``."""
    return _shown(_place(), uri)


def items(uri: str) -> list[dict[str, Any]] | None:
    """The evaluated items that a version carries."""
    return _items(_place(), uri)


def forget() -> None:
    """After a change: what was kept is asked for again."""
    for kept in (_all, _shown, _items):
        kept.clear()


def choose(required: bool = True) -> Version | None:
    """Two selectors, model and version, from the address and into it; an empty page where nothing is registered.

    Args:
        required: stop the page where there is no version.
    """
    found = all_versions()
    if not found:
        states.empty(t("versions.none"), t("versions.none_todo"), "lapidar run quickstart", ":material/workspace_premium:")
        if required:
            st.stop()
        return None
    names = sorted({version.name for version in found})
    left, right = st.columns(2)
    asked = page_state.get("model", default_name(found), names)
    with left:
        name = st.selectbox(t("versions.model"), names, index=names.index(asked))
    ours = {version.version: version for version in found if version.name == name}
    asked = page_state.get("version", next(iter(ours)), ours)
    with right:
        number = st.selectbox(
            t("versions.version"), list(ours), index=list(ours).index(asked), format_func=lambda each: label(ours[each])
        )
    page_state.put(model=name, version=number)
    return ours[number]


def default_name(found: list[Version]) -> str:
    """The model of the newest version."""
    return found[0].name


def label(version: Version) -> str:
    """A version's number with its aliases and its gate."""
    gate = version.tags.get("lapidar.gate", "unknown")
    word = t(f"ui.verdict_{gate}") if gate in ("pass", "fail", "unknown") else gate
    return " · ".join([version.version, *version.aliases, f"{t('versions.gate')}: {word}"])


def tag(version: Version, name: str) -> dict[str, Any]:
    """A tag's JSON object; empty if it is too long for a tag."""
    try:
        found = json.loads(version.tags.get(f"lapidar.{name}", ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def headline(version: Version) -> tuple[str, Mapping[str, Any]] | None:
    """(benchmark and metric, estimate): the gate's metric on the first benchmark that has it."""
    metric = (tag(version, "recipe").get("register") or {}).get("metric", "accuracy")
    for benchmark, metrics in tag(version, "evaluation").items():
        if metric in metrics:
            return f"{benchmark} {metric}", metrics[metric]
    return None


def _place() -> tuple[str, str | None, str | None]:
    settings = ui.settings()
    return str(settings.root), settings.tracking_uri, settings.database_url


@st.cache_data(ttl=_KEPT, show_spinner=False)
def _all(place: tuple[str, str | None, str | None]) -> list[Version]:
    found = registry(ui.settings())
    return found.list_versions() if found else []


@st.cache_data(ttl=_KEPT, show_spinner=False, max_entries=64)
def _shown(place: tuple[str, str | None, str | None], uri: str) -> dict[str, Any]:
    found = registry(ui.settings())
    return found.show(uri) if found else {}


@st.cache_data(ttl=600, show_spinner=False, max_entries=8)
def _items(place: tuple[str, str | None, str | None], uri: str) -> list[dict[str, Any]] | None:
    found = registry(ui.settings())
    return found.items(uri) if found else None
