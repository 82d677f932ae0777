"""Every page of the catalogue opens: no exception, its own title, in both languages, with nothing to show."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from dashboards.navigation import VIEWS
from dashboards.ui.text import catalogue


@pytest.mark.parametrize("language", ["en", "pt_BR"])
@pytest.mark.parametrize("view", [view.name for view in VIEWS])
def test_every_page_opens_on_an_empty_home(view: str, language: str, open_page: Callable[..., AppTest]) -> None:
    page = open_page(view, lang=language)
    assert not page.exception
    assert [title.value for title in page.title] == [catalogue("ui", language)[f"page_{view}"]]
    assert catalogue("ui", language)["broken"] not in "".join(each.value for each in page.markdown)
