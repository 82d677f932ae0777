"""``lapidar accounts``: passwords come from standard input, and no command shows or takes one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.reviews import accounts
from components.settings import Settings

Cli = Callable[..., tuple[int, str, str]]


def test_accounts_are_made_listed_changed_and_removed(lapidar: Cli, tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "home")
    assert lapidar("accounts", "list")[1].startswith("no accounts yet")
    assert lapidar("accounts", "add", "Ada", "admin", stdin="correct horse\n")[:2] == (0, "ada is admin\n")
    assert lapidar("accounts", "add", "bob", stdin="battery staple\nsecond line\n")[:2] == (0, "bob is reviewer\n")
    assert accounts.verify(home, "bob", "battery staple") == accounts.Account("bob", "reviewer")
    assert lapidar("accounts", "role", "bob", "engineer")[1] == "bob is engineer\n"
    assert json.loads(lapidar("accounts", "list", "--json")[1]) == [
        {"name": "ada", "role": "admin"},
        {"name": "bob", "role": "engineer"},
    ]
    assert lapidar("accounts", "password", "bob", stdin="another one\n")[0] == 0
    assert accounts.verify(home, "bob", "battery staple") is None
    assert accounts.verify(home, "bob", "another one") is not None
    assert lapidar("accounts", "remove", "bob")[1] == "bob is removed\n"
    assert lapidar("accounts", "list")[1] == "admin     ada\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("add", "ada"), "short\n", "a password has 8 to 1024 characters; this one has 5"),
        (("add", "ada"), "", "this one has 0"),
        (("add", "ada", "boss"), "correct horse\n", "'boss' is no role; roles are reviewer, engineer, admin"),
        (("role", "eve", "admin"), "", "there is no account 'eve'; there are none"),
        (("add", "ada", "admin", "correct horse"), "", "unexpected extra argument"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(lapidar: Cli, arguments: tuple[str, ...], stdin: str, said: str) -> None:
    code, out, err = lapidar("accounts", *arguments, stdin=stdin)
    assert code == 2
    assert said in err
    assert out == ""
