"""Each token goes to the address that it is meant for, and to no other."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from components.inference.client import connect
from components.inference.tokens import token_for
from components.settings import Settings

OWN, THEIRS = "server-secret", "endpoint-secret"


def settings(home: Path, **more: str) -> Settings:
    return Settings(home=home, server_token=SecretStr(OWN), endpoint_token=SecretStr(THEIRS), **more)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """One whose model server runs at port 4321, as its supervisor says."""
    services = Settings(home=tmp_path).services
    services.mkdir()
    running = [{"name": "models", "address": "http://127.0.0.1:4321", "pid": 1, "restarts": 0}]
    (services / "services.json").write_text(json.dumps({"supervisor": 1, "services": running}))
    with (services / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield tmp_path


def test_this_homes_server_gets_its_own_token_and_others_the_endpoints(home: Path) -> None:
    assert token_for(settings(home), "http://127.0.0.1:4321/v1") == OWN
    assert token_for(settings(home), "http://127.0.0.1:4322/v1") == THEIRS
    assert token_for(settings(home), "https://127.0.0.1:4321/v1") == THEIRS
    assert connect(settings(home))._token == OWN
    assert token_for(Settings(home=home, endpoint_token=SecretStr(THEIRS)), "http://127.0.0.1:4321/v1") is None


def test_an_endpoint_that_the_user_didnt_name_gets_none(tmp_path: Path) -> None:
    assert token_for(settings(tmp_path), "https://example.org/v1") == THEIRS
    assert token_for(settings(tmp_path), "https://example.org/v1", named=False) is None
    assert token_for(Settings(home=tmp_path), "https://example.org/v1") is None


def test_bound_to_addresses_it_goes_nowhere_else(tmp_path: Path) -> None:
    bound = settings(tmp_path, endpoint_url="https://example.org/v1, http://10.0.0.2:8000")
    for named in (True, False):
        assert token_for(bound, "https://EXAMPLE.org:443/other", named=named) == THEIRS
        assert token_for(bound, "http://10.0.0.2:8000/v1", named=named) == THEIRS
        for other in (
            "http://example.org/v1",
            "https://example.org:8443/v1",
            "https://example.org.evil.net/v1",
            "http://10.0.0.2/v1",
        ):
            assert token_for(bound, other, named=named) is None
