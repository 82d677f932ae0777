"""The dashboard: ``streamlit run dashboards/app.py``, or ``lapidar up``. Only reads: never loads a model, never runs a job.

Streamlit serves ``script.py``; beside it stands the one address of ours, where a browser gets its session.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboards import session

app = st.App(Path(__file__).with_name("script.py"), routes=[session.route()])
