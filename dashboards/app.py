"""The dashboard: ``streamlit run dashboards/app.py``, or ``lapidar up``. Only reads: never loads a model, never runs a job.

Streamlit serves ``script.py``; beside it stands the one address of ours, where a browser gets its session, and around it what
brings a reader whom a provider sends back to the page that they asked for.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from dashboards import session
from dashboards.landing import Landing

app = st.App(Path(__file__).with_name("script.py"), routes=[session.route()], middleware=[Middleware(Landing)])
