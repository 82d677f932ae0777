"""Which model a name means now: what the server was started with, and every version of the registry.

========================== ==========================================================================
a request's ``model``      is
========================== ==========================================================================
``name@alias``             the version that has the alias at this moment
``name/version``           that version; ``models:/…`` in front is accepted for both
``tiny``                   the folder ``…/tiny`` that the server was started with, or ``NAME=FOLDER``
``tiny+formal``            the adapter ``formal`` over it
``remote``                 an endpoint: ``NAME=URL#model``, or a version with the tag ``lapidar.endpoint``
========================== ==========================================================================
"""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import InputError, LapidarError
from components.inference.endpoint import Endpoint, is_endpoint
from components.inference.server.errors import ApiError
from components.inference.server.messages import Setup
from components.settings import Settings, device_class

if TYPE_CHECKING:
    from components.registry import Registry
    from components.versions import Version

ENDPOINT_TAG = "lapidar.endpoint"
_REGISTERED = re.compile(r"(?:models:/)?(?P<name>[^/@:+#\s]{1,200})(?:/(?P<version>\d{1,9})|@(?P<alias>[A-Za-z][\w-]{0,99}))")
_NAME = re.compile(r"[\w.-]{1,200}")
_FRESH_SECONDS = 0.5
"""How long an alias is taken to stay where it is."""


@dataclass(frozen=True)
class Target:
    """A model on this machine.

    Attributes:
        key: what its process holds.
        version: ``models:/name/number`` of a registered one.
        digest: sha256 of its files.
    """

    name: str
    key: str
    setup: Setup
    digest: str
    version: str | None = None
    adapter: str | None = None


@dataclass(frozen=True)
class Remote:
    """A model behind another OpenAI-compatible endpoint: base URL, and its name there.

    Attributes:
        version: the registered version whose tag says so; None where whoever started the server does.
    """

    name: str
    url: str
    model: str
    version: str | None = None


class Catalogue:
    """Finds models by name.

    Args:
        models: ``[NAME=]FOLDER``, ``[NAME=]URL#model``, registered versions and aliases.
        adapters: ``BASE+NAME=FOLDER``; ``+NAME=FOLDER`` where there is one folder.

    Raises:
        InputError: if one of them isn't there or isn't a model.
    """

    def __init__(self, settings: Settings, models: list[str], adapters: list[str]) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "registry")  # one connection, asked by one thread
        self._found: dict[str, tuple[float, Target | Remote]] = {}
        self._versions: tuple[float, list[Version]] = (0.0, [])
        self.fixed: dict[str, Target | Remote] = {}
        self.started_with: list[str] = []
        for spec in models:
            self._add(spec)
        for spec in adapters:
            self._add_adapter(spec)

    async def find(self, name: str) -> Target | Remote:
        """The model that a name means now.

        Raises:
            ApiError: 404 if there is none; says what there is.
        """
        if name in self.fixed:
            return self.fixed[name]
        match = _REGISTERED.fullmatch(name)
        if match is None:
            raise await self._unknown(name)
        known = self._found.get(name)
        if known is not None and time.monotonic() - known[0] < _FRESH_SECONDS:
            return known[1]
        try:
            target: Target | Remote = await self._in_thread(self._resolve, name.removeprefix("models:/"))
        except InputError as error:
            raise await self._unknown(name, str(error)) from error
        except LapidarError as error:
            raise ApiError(503, f"the registry doesn't give {name}: {error}", code="registry", retry_after=5) from error
        if len(self._found) > 1000:
            self._found.clear()
        self._found[name] = (time.monotonic(), target)
        return target

    async def listed(self) -> list[dict[str, Any]]:
        """All models as ``/v1/models`` shows them."""
        found = [_shown(name, each) for name, each in self.fixed.items()]
        for version in await self._in_thread(self._list):
            names = [f"{version.name}@{alias}" for alias in version.aliases] + [f"{version.name}/{version.version}"]
            found += [
                _entry(name, version.created, {"version": version.uri, "digest": version.digest, "aliases": version.aliases})
                for name in names
            ]
        return found

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _unknown(self, name: str, why: str = "") -> ApiError:
        try:
            names = [entry["id"] for entry in await self.listed()]
        except LapidarError:
            names = list(self.fixed)
        shown = ", ".join(names[:20]) + ("…" if len(names) > 20 else "")
        detail = f" ({why})" if why else ""
        message = f"there is no model {name[:200]!r}{detail[:500]}; there are: {shown or 'none yet, register one or name a folder'}"
        return ApiError(404, message, code="model_not_found", param="model")

    def _resolve(self, name: str) -> Target | Remote:
        from components.registry import fetch

        if self._registry is None:
            raise InputError("nothing is registered in this home")
        version = self._registry.resolve(f"models:/{name}")
        if endpoint := version.tags.get(ENDPOINT_TAG):
            return _remote(name, endpoint, version.uri)
        folder = fetch(version.uri, self._settings)
        assert folder is not None
        return Target(name, version.digest, self._setup(folder), version.digest, version.uri)

    def _list(self) -> list[Version]:
        if self._registry is None:
            return []
        if time.monotonic() - self._versions[0] > 2.0:
            self._versions = (time.monotonic(), self._registry.list_versions())
        return self._versions[1]

    @cached_property
    def _connected(self) -> Registry:
        from components.registry import Registry

        return Registry(self._settings)

    @property
    def _registry(self) -> Registry | None:
        """The registry; None where nothing was ever tracked, so that looking makes no database."""
        if self._settings.tracking_uri or (self._settings.services / "mlflow.db").exists():
            return self._connected
        return None

    def _setup(self, folder: Path, adapters: dict[str, str] | None = None) -> Setup:
        return Setup(str(folder), adapters or {}, device_class(self._settings), self._settings.threads)

    def _add(self, spec: str) -> None:
        name, equals, source = spec.partition("=")
        if not equals or not _NAME.fullmatch(name):
            name, source = "", spec
        if not name and _REGISTERED.fullmatch(source) and not Path(source).expanduser().is_dir():
            known = source.removeprefix("models:/")
            self._resolve(known)
            self.started_with.append(known)
            return
        if is_endpoint(source):
            name = name or source.partition("#")[2]
            self.fixed[name] = _remote(name, source, None)
            return
        from components.inference.local import local_ref

        ref = local_ref(source, self._settings)
        name = name or Path(source).expanduser().absolute().name
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name for a model; give one as NAME={source}")
        if name in self.fixed:
            raise InputError(f"two models are named {name!r}; give one another name as NAME={source}")
        self.fixed[name] = Target(name, ref.digest, self._setup(ref.base), ref.digest)
        self.started_with.append(name)

    def _add_adapter(self, spec: str) -> None:
        full, _, folder = spec.partition("=")
        base, plus, name = full.partition("+")
        bases = [n for n, each in self.fixed.items() if isinstance(each, Target) and each.adapter is None]
        base = base or (bases[0] if len(bases) == 1 else "")
        target = self.fixed.get(base)
        if not folder or not plus or not _NAME.fullmatch(name) or not isinstance(target, Target):
            raise InputError(
                f"--adapter {spec}: write BASE+NAME=FOLDER, with BASE one of {', '.join(bases) or 'the folders served'}"
            )
        path = Path(folder).expanduser().absolute()
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            if not (path / file).is_file():
                raise InputError(f"{path} is no adapter: it has no {file}")
        setup = self._setup(Path(target.setup.folder), {**target.setup.adapters, name: str(path)})
        key = f"{target.digest}+{len(setup.adapters)}"
        for other, each in list(self.fixed.items()):
            if isinstance(each, Target) and each.setup == target.setup:
                self.fixed[other] = Target(other, key, setup, each.digest, None, each.adapter)
        self.fixed[f"{base}+{name}"] = Target(f"{base}+{name}", key, setup, _adapter_digest(target.digest, path), None, name)


def _adapter_digest(base: str, folder: Path) -> str:
    import hashlib

    from components.store import file_sha256

    return hashlib.sha256(f"{base}{file_sha256(folder / 'adapter_model.safetensors')}".encode()).hexdigest()


def _remote(name: str, source: str, version: str | None) -> Remote:
    url, _, model = source.partition("#")
    if not is_endpoint(source) or not model:
        raise InputError(f"{name} is {source!r}, which isn't an endpoint; write URL#model, e.g. http://127.0.0.1:8000/v1#name")
    return Remote(name, Endpoint(url, model).url, model, version)


def _shown(name: str, each: Target | Remote) -> dict[str, Any]:
    if isinstance(each, Remote):
        return _entry(name, 0, {"version": each.version, "digest": None, "endpoint": True})
    return _entry(name, 0, {"version": each.version, "digest": each.digest, "adapter": each.adapter})


def _entry(name: str, created: float, more: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(created), "owned_by": "lapidar", "lapidar": more}
