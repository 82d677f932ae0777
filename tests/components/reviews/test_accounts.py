from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from components.database.review_models import AccountRow
from components.errors import InputError
from components.reviews import accounts
from components.reviews.accounts import Account
from components.reviews.opened import opened
from components.settings import Settings

RIGHT, WRONG = "correct horse", "battery staple"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hashes that a password was compared with. The parameters of argon2 are small here: what they cost isn't tested."""
    from argon2 import PasswordHasher

    seen: list[str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            seen.append(str(hash))
            return bool(super().verify(hash, password))

    hasher = Counting(time_cost=1, memory_cost=64, parallelism=1)
    accounts._nobody.cache_clear()
    monkeypatch.setattr(accounts, "_hasher", lambda: hasher)
    yield seen
    accounts._nobody.cache_clear()


def test_an_account_is_known_by_its_password_only(home: Settings, counted: list[str]) -> None:
    assert accounts.create(home, " Ada ", "admin", RIGHT) == Account("ada", "admin")
    assert accounts.verify(home, "ADA", RIGHT) == Account("ada", "admin")
    assert accounts.verify(home, "ada", WRONG) is None
    assert accounts.verify(home, "bob", RIGHT) is None
    with opened(home).read() as session:
        stored = session.query(AccountRow).one().password
    assert stored.startswith("$argon2id$")
    assert RIGHT not in stored
    with pytest.raises(InputError, match="there is an account 'ada' already"):
        accounts.create(home, "ADA", "reviewer", RIGHT)


def test_an_unknown_name_costs_one_hash_like_a_known_one(home: Settings, counted: list[str]) -> None:
    accounts.create(home, "ada", "admin", RIGHT)
    for name in ("ada", "nobody", "x" * 999):
        counted.clear()
        assert accounts.verify(home, name, WRONG) is None
        assert len(counted) == 1


def test_wrong_passwords_lock_for_longer_and_longer(home: Settings, counted: list[str]) -> None:
    accounts.create(home, "ada", "admin", RIGHT)
    now = 1e9
    for _ in range(accounts.FREE_ATTEMPTS):
        assert accounts.verify(home, "ada", WRONG, now) is None
    assert accounts.verify(home, "ada", RIGHT, now + 29) is None, "locked for 30 s"
    assert accounts.verify(home, "ada", WRONG, now + 31) is None
    assert accounts.verify(home, "ada", RIGHT, now + 31 + 59) is None, "locked for 60 s now"
    assert accounts.verify(home, "ada", RIGHT, now + 31 + 61) == Account("ada", "admin")
    assert accounts.verify(home, "ada", WRONG, now + 93) is None
    assert accounts.verify(home, "ada", RIGHT, now + 93) is not None, "the right password began the count anew"


def test_guesses_in_parallel_are_all_counted(home: Settings, counted: list[str]) -> None:
    accounts.create(home, "ada", "admin", RIGHT)
    nobody = accounts._nobody()  # made now: threads that come first at once would each make one
    threads = [threading.Thread(target=accounts.verify, args=(home, "ada", WRONG)) for _ in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    stored = {hash for hash in counted if hash != nobody}
    assert len(stored) == 1
    assert sum(hash in stored for hash in counted) == accounts.FREE_ATTEMPTS, "the rest came too late to be looked at"


def test_weaker_hashes_are_made_anew_at_login(home: Settings, counted: list[str]) -> None:
    from argon2 import PasswordHasher

    accounts.create(home, "ada", "admin", RIGHT)
    weak = PasswordHasher(time_cost=2, memory_cost=32, parallelism=1).hash(RIGHT)
    with opened(home).write() as session:
        session.query(AccountRow).one().password = weak
    assert accounts.verify(home, "ada", RIGHT) is not None
    with opened(home).read() as session:
        assert "m=64,t=1,p=1" in session.query(AccountRow).one().password
    assert accounts.verify(home, "ada", RIGHT) is not None


def test_the_real_parameters_are_those_of_rfc_9106() -> None:
    from argon2.profiles import RFC_9106_LOW_MEMORY

    accounts._hasher.cache_clear()
    hasher = accounts._hasher()
    assert (hasher.time_cost, hasher.memory_cost, hasher.parallelism, hasher.type) == (
        RFC_9106_LOW_MEMORY.time_cost, RFC_9106_LOW_MEMORY.memory_cost, RFC_9106_LOW_MEMORY.parallelism, RFC_9106_LOW_MEMORY.type,
    )  # fmt: skip


def test_roles_change_and_the_last_admin_stays(home: Settings, counted: list[str]) -> None:
    accounts.create(home, "ada", "admin", RIGHT)
    with pytest.raises(InputError, match="only admin"):
        accounts.set_role(home, "ada", "engineer")
    accounts.create(home, "bob", "reviewer", RIGHT)
    assert accounts.set_role(home, "bob", "engineer") == accounts.get(home, "bob") == Account("bob", "engineer")
    with pytest.raises(InputError, match="only admin"):
        accounts.set_role(home, "ada", "reviewer")
    with pytest.raises(InputError, match="only admin"):
        accounts.remove(home, "ada")
    accounts.set_role(home, "bob", "admin")
    accounts.remove(home, "ada")
    assert accounts.listed(home) == [Account("bob", "admin")]
    accounts.remove(home, "bob")
    assert accounts.listed(home) == []


def test_a_new_password_takes_the_old_one_and_a_lock_away(home: Settings, counted: list[str]) -> None:
    accounts.create(home, "ada", "admin", RIGHT)
    for _ in range(6):
        accounts.verify(home, "ada", WRONG)
    accounts.set_password(home, "ada", "another one")
    assert accounts.verify(home, "ada", RIGHT) is None
    assert accounts.verify(home, "ada", "another one") is not None


@pytest.mark.parametrize(
    ("name", "role", "password", "said"),
    [
        (" ", "admin", RIGHT, "can't be an account's name"),
        ("a\n", "boss", RIGHT, "'boss' is no role"),
        ("a", "admin", "short", "8 to 1024"),
    ],
)
def test_wrong_input_is_named(home: Settings, name: str, role: accounts.Role, password: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        accounts.create(home, name, role, password)
