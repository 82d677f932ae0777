"""Model versions in MLflow: made, marked and looked up. What has no ``lapidar.digest`` isn't ours and isn't shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.mlflow_client import Connection, missing
from components.model_files import LoggedModelHandle


@dataclass(frozen=True)
class Version:
    """One registered version.

    Attributes:
        created: seconds since 1970.
        evidence: id of the evidence that it carries now.

    """

    name: str
    version: str
    digest: str
    aliases: list[str]
    created: float
    evidence: str
    location: str
    checksums: str
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """``models:/name/version``."""
        return f"models:/{self.name}/{self.version}"


def create(connection: Connection, handle: LoggedModelHandle, tags: Mapping[str, str]) -> Version:
    """A new version with all its tags, in one step."""
    client = connection.client
    try:
        client.create_registered_model(handle.name)
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
            raise
    run = client.get_logged_model(handle.model_id).source_run_id
    # a server wants the id, to check the location; a database opened directly would look it up in the default tracker
    model_id = handle.model_id if connection.address.startswith("http") else None
    return _of(client.create_model_version(handle.name, handle.location, run, dict(tags), model_id=model_id))


def mark(connection: Connection, version: Version, tags: Mapping[str, str], alias: str) -> Version:
    """Sets tags and one alias; returns the version as it is now."""
    note(connection, version, tags)
    connection.client.set_registered_model_alias(version.name, alias, version.version)
    return _of(connection.client.get_model_version(version.name, version.version))


def note(connection: Connection, version: Version, tags: Mapping[str, str]) -> None:
    """Sets tags that have another value."""
    for key, value in tags.items():
        if version.tags.get(key) != value:
            connection.client.set_model_version_tag(version.name, version.version, key, value)


def tagged(connection: Connection, name: str, digest: str) -> Version | None:
    """The version of a digest, by its tag."""
    found = search(connection, f"name = '{name}' AND tags.`lapidar.digest` = '{digest}'")
    return found[-1] if found else None


def numbered(connection: Connection, name: str, version: str) -> Version | None:
    """The version of a number, or None."""
    return _or_none(lambda: connection.client.get_model_version(name, version))


def aliased(connection: Connection, name: str, alias: str) -> Version | None:
    """The version that has an alias, or None."""
    return _or_none(lambda: connection.client.get_model_version_by_alias(name, alias))


def _or_none(get: Callable[[], Any]) -> Version | None:
    try:
        return _of(get())
    except Exception as error:
        if missing(error):
            return None
        raise


def search(connection: Connection, query: str) -> list[Version]:
    """Newest first. A search leaves the aliases out, so they are read from the models."""
    found, token = [], None
    while True:
        page = connection.client.search_model_versions(query, max_results=1000, page_token=token)
        found += [version for version in page if "lapidar.digest" in version.tags]
        if not (token := page.token):
            break
    aliases = {name: connection.client.get_registered_model(name).aliases for name in {v.name for v in found}}
    versions = [_of(v, [a for a, number in aliases[v.name].items() if str(number) == str(v.version)]) for v in found]
    return sorted(versions, key=lambda v: (v.created, int(v.version)), reverse=True)


def _of(found: Any, aliases: list[str] | None = None) -> Version:
    """Our record of MLflow's ModelVersion."""
    tags = dict(found.tags)
    return Version(
        name=found.name,
        version=str(found.version),
        digest=tags.get("lapidar.digest", ""),
        aliases=sorted(found.aliases if aliases is None else aliases),
        created=found.creation_timestamp / 1000,
        evidence=tags.get("lapidar.evidence", ""),
        location=found.source,
        checksums=tags.get("lapidar.checksums", ""),
        tags=tags,
    )
