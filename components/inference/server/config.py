"""Settings of a server."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from components.errors import InputError
from components.settings import Settings, device_class

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|[KMGT]i?B?)?", re.IGNORECASE)


@dataclass(frozen=True)
class ServerConfig:
    """What a server serves, where and within which limits.

    Attributes:
        models: see ``catalogue``.
        adapters: ``BASE+NAME=FOLDER``.
        memory: bytes that all loaded models may hold together.
        queue: requests to one model that may wait for their first token.
        tokens: bearer tokens, any of which lets a request in; none leaves the server open, on loopback only.
        most_bytes: of a request's body.
    """

    settings: Settings
    models: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8765
    memory: int = 4 << 30
    queue: int = 256
    tokens: tuple[str, ...] = ()
    most_bytes: int = 4 << 20

    def __post_init__(self) -> None:
        if not self.tokens and not is_loopback(self.host):
            raise InputError(
                f"--host {self.host} can be reached from other machines, so it needs a token: set LAPIDAR_SERVER_TOKEN or "
                "--token-file, or leave the host at 127.0.0.1"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tokens(settings: Settings, file: Path | None) -> tuple[str, ...]:
    """Bearer tokens: of ``LAPIDAR_SERVER_TOKEN``, and of a file with one a line.

    Raises:
        InputError: if the file can't be read, has none, or one is too short to be a secret.
    """
    found = [settings.server_token.get_secret_value()] if settings.server_token is not None else []
    if file is not None:
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--token-file {file} can't be read ({error}); give a text file with one token a line") from error
        lines = [line for line in lines if line and not line.startswith("#")]
        if not lines:
            raise InputError(f"--token-file {file} holds no token; write one a line")
        found += lines
    if any(len(token) < 8 or not token.isascii() or not token.isprintable() for token in found):
        raise InputError("a token needs at least 8 printable ASCII characters, e.g. from `openssl rand -hex 32`")
    return tuple(found)


def memory(text: str, settings: Settings) -> int:
    """Bytes of ``4GiB``, ``800M`` or a share like ``80%`` of what is free now.

    Raises:
        InputError: if it is none of these.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or float(match["number"]) == 0:
        raise InputError(f"--memory {text!r}: write a size such as 4GiB or a share of the free memory such as 80%")
    number, unit = float(match["number"]), (match["unit"] or "").upper()
    if unit == "%":
        if number > 100:
            raise InputError(f"--memory {text!r}: more than all of the memory")
        return int(_free(device_class(settings)) * number / 100)
    return int(number * (1 << 10 * " KMGT".index(unit[:1] or " ")))


def _free(device: str) -> int:
    if device == "cuda":
        import subprocess

        query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
        try:
            said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
            return int(said.split()[0]) << 20
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            raise InputError("the GPU's free memory can't be read (nvidia-smi); give --memory as a size, e.g. 40GiB") from error
    import psutil

    return int(psutil.virtual_memory().available)
