"""Opens pages of the dashboard without a browser, on a home of the test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import dashboards

APP = Path(dashboards.__file__).with_name("app.py")
Opener = Callable[..., AppTest]


def open_view(name: str, **query: str) -> AppTest:
    """A page of the dashboard by its view's name, with what its address says. Streamlit's own switch takes files only."""
    page = AppTest.from_file(str(APP), default_timeout=60)
    page._page_hash = calc_hash("" if name == "home" else name)
    for key, value in query.items():
        page.query_params[key] = value
    return page.run()


@pytest.fixture
def open_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """``open_page(view, home=folder, **query)``; an empty home by default."""
    for name in ("LAPIDAR_TRACKING_URI", "LAPIDAR_DATABASE_URL", "LAPIDAR_STORE"):
        monkeypatch.delenv(name, raising=False)

    config.set_option("server.address", "127.0.0.1")

    def opener(name: str, home: Path | None = None, **query: str) -> AppTest:
        monkeypatch.setenv("LAPIDAR_HOME", str(home or tmp_path / "home"))
        return open_view(name, **query)

    return opener
