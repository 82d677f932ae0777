"""Streamlit's OpenID Connect login against a real provider (``provider``), in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from components import local_services

from .provider import CLIENT, FORGERIES, SECRET, Provider

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SECRETS = """
[auth]
redirect_uri = "{site}/oauth2callback"
cookie_secret = "a secret of this test's cookies"
client_id = "{client}"
client_secret = "{secret}"
server_metadata_url = "{provider}/.well-known/openid-configuration"

[roles]
admin = ["ana@example.org"]
engineer = ["rui@other.example", "sub:id-kim"]
reviewer = ["*@example.org"]
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def site(provider: Provider, serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dashboard whose people are the provider's."""
    folder = tmp_path_factory.mktemp("provided")
    port = local_services.free_port(0)
    address = f"http://127.0.0.1:{port}"
    (folder / "secrets.toml").write_text(SECRETS.format(site=address, client=CLIENT, secret=SECRET, provider=provider.url))
    assert serve(folder / "home", STREAMLIT_SERVER_PORT=str(port), STREAMLIT_SECRETS_FILES=str(folder / "secrets.toml")) == address
    return address


@pytest.fixture
def page(site: str, visit: Callable[..., Any]) -> Any:
    return visit(site)


def sign_in(page: Any, who: str) -> None:
    page.get_by_role("button", name="Sign in with your provider").click()
    page.get_by_role("link", name=who, exact=True).click()


def test_roles_follow_from_what_the_provider_says(site: str, visit: Callable[..., Any]) -> None:
    for who, said, last in (
        ("ana", "ana@example.org (admin)", "Accounts"),
        ("rui", "rui@other.example (engineer)", "Flows"),
        ("kim", "id-kim (engineer)", "Flows"),
        ("eva", "eva@example.org (reviewer)", "Registry"),
    ):
        page = visit(site)
        sign_in(page, who)
        page.get_by_text(re.compile(f"Signed in as {re.escape(said).replace('@', '@.?')}")).wait_for()  # an address is no link here
        assert page.locator("[data-testid=stSidebarNavLink]").last.inner_text().splitlines()[-1] == last


def test_a_sign_in_outlives_its_page_and_ends_at_the_provider_too(page: Any, site: str, provider: Provider) -> None:
    sign_in(page, "eva")
    page.get_by_role("button", name="Sign out").wait_for()
    page.goto(f"{site}/arena")
    page.get_by_role("heading", name="Arena").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with your provider").wait_for()
    assert provider.ended[-1] == "id-eva"
    page.goto(f"{site}/arena")
    page.get_by_role("button", name="Sign in with your provider").wait_for()


def test_a_sign_in_lands_on_the_page_that_was_asked_for(site: str, visit: Callable[..., Any]) -> None:
    page = visit(f"{site}/compare?runs=a%2Cb&lang=pt_BR")
    page.get_by_role("button", name="Entrar com seu provedor").click()
    page.get_by_role("link", name="rui", exact=True).click()
    page.get_by_role("heading", name="Comparar").wait_for()
    assert page.url == f"{site}/compare?runs=a%2Cb&lang=pt_BR"
    page.goto(f"{site}/?lang=en")
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "eva")  # what was asked for the last time is forgotten
    page.get_by_role("heading", name="Home").wait_for()


@pytest.mark.parametrize("asked", ["https://evil.invalid/", "//evil.invalid/", "/%5Cevil.invalid/", "/auth/logout", "https:evil"])
def test_a_cookie_made_by_hand_leads_nowhere_else(asked: str, page: Any, site: str) -> None:
    sign_in_button = page.get_by_role("button", name="Sign in with your provider")
    sign_in_button.click()
    page.get_by_role("link", name="eva", exact=True).wait_for()
    cookie = {"name": f"lapidar_asked_{site.rpartition(':')[2]}", "value": quote(asked, safe=""), "url": site}
    page.context.add_cookies([cookie])
    page.get_by_role("link", name="eva", exact=True).click()
    page.get_by_role("button", name="Sign out").wait_for()
    assert page.url == f"{site}/"


@pytest.mark.parametrize("who", ["stranger", "lookalike", "unverified", "unsaid"])
def test_who_has_no_role_sees_nothing(who: str, page: Any) -> None:
    sign_in(page, who)
    page.get_by_text("but have no role here").wait_for()
    assert page.locator("[data-testid=stSidebarNavLink]").count() == 0
    assert page.get_by_role("heading", name="Home").count() == 0
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with your provider").wait_for()


@pytest.mark.parametrize("lie", FORGERIES)
def test_a_token_that_proves_nothing_signs_nobody_in(lie: str, page: Any) -> None:
    sign_in(page, lie)
    page.wait_for_url("**/")
    page.get_by_role("button", name="Sign in with your provider").wait_for()
    assert page.get_by_text("Signed in").count() == 0


def test_a_cookie_made_by_hand_signs_nobody_in(page: Any, site: str) -> None:
    claims = f'{{"origin": "{site}", "is_logged_in": true, "email": "ana@example.org", "email_verified": true, "iat": 9999999999}}'
    page.context.add_cookies([{"name": "_streamlit_user", "value": claims.replace('"', "%22").replace(", ", "%2C"), "url": site}])
    page.reload()
    page.get_by_role("button", name="Sign in with your provider").wait_for()
