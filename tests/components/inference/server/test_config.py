from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import InputError
from components.inference.server.config import ServerConfig, memory, tokens
from components.settings import Settings


def test_other_machines_need_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(InputError, match="needs a token"):
            ServerConfig(Settings(), host=host)
        assert ServerConfig(Settings(), host=host, tokens=("a" * 8,)).host == host
    assert [ServerConfig(Settings(), host=host).tokens for host in ("127.0.0.1", "::1", "localhost")] == [()] * 3


def test_sizes() -> None:
    settings = Settings(device="cpu")
    assert [memory(text, settings) for text in ("4GiB", "4G", "1.5M", "100")] == [4 << 30, 4 << 30, 3 << 19, 100]
    assert memory("50%", settings) > 1 << 20
    for wrong in ("", "0", "-1G", "200%", "many"):
        with pytest.raises(InputError, match="--memory"):
            memory(wrong, settings)


def test_tokens_come_from_settings_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# ours\nsecond-token\n\n")
    assert tokens(Settings(server_token="first-token"), file) == ("first-token", "second-token")
    for wrong in ("", "short", "with-ä-in-it"):
        file.write_text(wrong)
        with pytest.raises(InputError):
            tokens(Settings(), file)
