"""What all views share: settings, words, state in the URL, text that is safe to show, numbers, charts, empty pages.

Every module of this folder is small and draws or formats one kind of thing::

    from dashboards.ui import settings
    from dashboards.ui.text import t
    from dashboards.ui import charts, export, numbers, page_state, safe, states
"""

from __future__ import annotations

from components.settings import Settings


def settings() -> Settings:
    """Where things are. Read anew each time, which is cheap, so that nothing of it stays in a session."""
    return Settings()
