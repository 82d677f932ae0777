"""The one place that reads environment variables (``LAPIDAR_*``) and says where local state lives."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from components.errors import InputError


class Settings(BaseSettings):
    """Where things are and what machine this is; every field is an environment variable ``LAPIDAR_<NAME>``.

    An empty variable is one that isn't set.

    Raises:
        InputError: if a variable has a value of another kind.
    """

    model_config = SettingsConfigDict(env_prefix="LAPIDAR_", env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Field(Path(".lapidar"), description="All local state; deleting it is a full reset.")
    shared: Path = Field(Path("../shared"), description="Real models and data for the recipes that use them.")
    store: str | None = Field(None, description="fsspec URL that mirrors sealed stage outputs, e.g. s3://bucket/store.")
    tracking_uri: str | None = Field(None, description="MLflow server; default: the local services, else SQLite in home.")
    endpoint_token: SecretStr | None = Field(
        None, description="Bearer token of OpenAI-compatible endpoints; never written anywhere."
    )
    endpoint_url: str | None = Field(
        None,
        description="Addresses, separated by commas, that LAPIDAR_ENDPOINT_TOKEN goes to; default: endpoints that you name "
        "yourself, never one that a registered version's tag names.",
    )
    server_token: SecretStr | None = Field(
        None, description="Bearer token of our own server: asked for by `lapidar serve`, sent to it by what talks to it."
    )
    database_url: str | None = Field(None, description="SQLAlchemy URL; default: SQLite in home.")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, ge=1, description="Torch threads of a stage; default: all cores.")

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            wrong = [(f"LAPIDAR_{each['loc'][0]}".upper(), each) for each in error.errors()]
            said = [f"{name}={each['input']!r}: {each['msg'][0].lower()}{each['msg'][1:]}" for name, each in wrong]
            raise InputError(f"{'; '.join(said)}; set it otherwise or unset it") from error

    @cached_property
    def root(self) -> Path:
        """The home as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def stages(self) -> Path:
        """Sealed stage outputs."""
        return self.root / "store"

    @property
    def work(self) -> Path:
        """Checkpoints and events of stages that aren't sealed yet."""
        return self.root / "work"

    @property
    def runs(self) -> Path:
        """One folder a pipeline run: resolved recipe, report, spooled tracking records."""
        return self.root / "runs"

    @property
    def data(self) -> Path:
        """DVC workspace for dataset versions that aren't the project's own ``data/``."""
        return self.root / "data"

    @property
    def services(self) -> Path:
        """State of the local services: addresses, logs, databases of Prefect and MLflow."""
        return self.root / "services"

    @property
    def compiled(self) -> Path:
        """Machine code of the engine's kernels, made again where it is missing."""
        return self.root / "compiled"

    def prepare(self) -> None:
        """Creates the home.

        Raises:
            InputError: if it can't be created or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise InputError(self.unwritable(error)) from error

    def unwritable(self, error: OSError) -> str:
        """The sentence about a home that refuses to be written."""
        return f"LAPIDAR_HOME={self.root} can't be written ({error.strerror}); choose a folder of your own with LAPIDAR_HOME=/path"


def device_class(settings: Settings) -> str:
    """``cpu`` or ``cuda``, without importing torch: part of every stage's key."""
    if settings.device != "auto":
        return settings.device
    return "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu"
