from __future__ import annotations

import pytest

from components.database.review_models import SignInRow
from components.reviews import accounts, sign_ins
from components.reviews.accounts import Account
from components.reviews.opened import opened
from components.settings import Settings

RIGHT = "correct horse"
NOW = 1e9


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parameters of argon2: what they cost isn't tested here."""
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(accounts, "_hasher", lambda: hasher)


@pytest.fixture
def session(home: Settings) -> str:
    """Ada's session, which began at ``NOW``."""
    accounts.create(home, "ada", "engineer", RIGHT)
    found = sign_ins.ticket(home, "Ada", RIGHT, NOW)
    assert found is not None
    session = sign_ins.redeem(home, found, NOW)
    assert session is not None
    return session


def test_a_ticket_is_good_once_and_is_no_session(home: Settings) -> None:
    accounts.create(home, "ada", "reviewer", RIGHT)
    assert sign_ins.ticket(home, "ada", "wrong password", NOW) is None
    ticket = sign_ins.ticket(home, "ada", RIGHT, NOW)
    assert ticket is not None
    assert sign_ins.whose(home, ticket, NOW) is None
    session = sign_ins.redeem(home, ticket, NOW)
    assert session is not None
    assert sign_ins.redeem(home, ticket, NOW) is None
    assert sign_ins.redeem(home, session, NOW) is None
    assert sign_ins.whose(home, session, NOW) == Account("ada", "reviewer")


def test_a_ticket_waits_for_two_minutes(home: Settings) -> None:
    accounts.create(home, "ada", "reviewer", RIGHT)
    ticket = sign_ins.ticket(home, "ada", RIGHT, NOW)
    assert ticket is not None
    assert sign_ins.redeem(home, ticket, NOW + 121) is None


def test_a_session_ends_by_itself(home: Settings, session: str) -> None:
    assert sign_ins.whose(home, session, NOW + sign_ins.LASTS - 1) is not None
    assert sign_ins.whose(home, session, NOW + sign_ins.LASTS) is None
    accounts.create(home, "rui", "reviewer", RIGHT)
    sign_ins.ticket(home, "rui", RIGHT, NOW + sign_ins.LASTS)  # what is over is cleared away with the next sign-in
    with opened(home).read() as database:
        assert [row.kind for row in database.query(SignInRow)] == ["ticket"]


def test_signing_out_ends_one_session(home: Settings, session: str) -> None:
    ticket = sign_ins.ticket(home, "ada", RIGHT, NOW)
    assert ticket is not None
    other = sign_ins.redeem(home, ticket, NOW)
    assert other is not None
    sign_ins.end(home, session)
    sign_ins.end(home, session)
    assert sign_ins.whose(home, session, NOW) is None
    assert sign_ins.whose(home, other, NOW) == Account("ada", "engineer")


def test_what_changes_about_an_account_counts_at_once(home: Settings, session: str) -> None:
    accounts.create(home, "rui", "admin", RIGHT)
    accounts.set_role(home, "ada", "reviewer")
    assert sign_ins.whose(home, session, NOW) == Account("ada", "reviewer")
    accounts.remove(home, "ada")
    assert sign_ins.whose(home, session, NOW) is None
    accounts.create(home, "ada", "admin", RIGHT)  # another person by the same name
    assert sign_ins.whose(home, session, NOW) is None


def test_another_password_ends_all_sessions(home: Settings, session: str) -> None:
    accounts.set_password(home, "ada", "battery staple")
    assert sign_ins.whose(home, session, NOW) is None


def test_the_database_holds_nothing_to_sign_in_with(home: Settings, session: str) -> None:
    with opened(home).read() as database:
        row = database.query(SignInRow).one()
    assert session not in (row.digest, row.kind)
    assert sign_ins.whose(home, row.digest, NOW) is None
