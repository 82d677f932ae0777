"""Where a sign-in with a provider may land: on this dashboard's pages only."""

from __future__ import annotations

import pytest

from dashboards.landing import page_of


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("https://here.example/compare?runs=a,b&lang=pt_BR", "/compare?runs=a,b&lang=pt_BR"),
        ("https://here.example/", "/"),
        ("https://here.example/run?id=%0d%0aX#top", "/run?id=%0d%0aX"),
        ("https://elsewhere.example/run?id=1", "/run?id=1"),  # of a foreign address only what is ours is taken
        ("https://here.example//evil.example", ""),
        ("//evil.example/run", "/run"),
        ("https://here.example//evil.example/run", ""),
        ("https://here.example/\\evil.example/run", ""),
        ("https://here.example/run/../../evil", ""),
        ("https://here.example/auth/logout", ""),
        ("https://here.example/run?id=a\r\nSet-Cookie: x=y", "/run"),
        ("https://here.example/run?id=é", "/run"),
        ("https://here.example/run?id=" + "x" * 5000, "/run"),
        ("https://[here/run", ""),
        ("javascript:alert(1)", ""),
        ("", ""),
    ],
)
def test_only_pages_of_this_dashboard(address: str, page: str) -> None:
    assert page_of(address) == page
