"""A form that starts a deployment with other parameters: which settings change is chosen, each has a field of its type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from components import orchestrator
from components.errors import LapidarError
from components.orchestrator import Orchestrator
from dashboards import access
from dashboards.ui import safe
from dashboards.ui.text import t


def draw(prefect: Orchestrator, deployment: Mapping[str, Any]) -> None:
    """Draws the form; what is sent is checked by Prefect against the deployment's schema."""
    schema = deployment.get("parameter_openapi_schema") or {}
    known = orchestrator.settable(deployment["parameters"], schema)
    chosen = st.multiselect(t("start.change"), list(known), key=f"change-{deployment['id']}", help=t("start.change_help"))
    with st.form(f"start-{deployment['id']}", border=False):
        values = {name: _field(name, known[name], schema) for name in chosen}
        sent = st.form_submit_button(t("start.start"), icon=":material/play_arrow:", type="primary")
    if not sent:
        return
    access.require("engineer")
    try:
        run = prefect.start(deployment["id"], orchestrator.changed(deployment["parameters"], values))
    except LapidarError as error:
        st.error(safe.plain(error, 900))
        return
    st.success(t("start.started", name=safe.plain(run["name"])))


def _field(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    """A field of the schema's type, else of the present value's."""
    kind = (schema.get("properties") or {}).get(name, {}).get("type")
    label = safe.plain(name)
    if isinstance(value, bool) or kind == "boolean":
        return st.checkbox(label, bool(value))
    if isinstance(value, int) or kind == "integer":
        return int(st.number_input(label, value=int(value or 0), step=1))
    if isinstance(value, float) or kind == "number":
        return float(st.number_input(label, value=float(value or 0), format="%g"))
    text = st.text_input(label, "" if value is None else value if isinstance(value, str) else json.dumps(value))
    return text if isinstance(value, str) else _json(text)


def _json(text: str) -> Any:
    """An empty field is no value; what is no JSON is a text."""
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return text
