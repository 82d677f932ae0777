"""Filters that people keep under a name, one set a view."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select

from components.database.review_models import SavedFilter
from components.errors import InputError
from components.reviews.opened import Place, named, opened


def save(place: Place, owner: str, view: str, name: str, content: Mapping[str, Any]) -> None:
    """Keeps a filter; one of the same name is replaced.

    Raises:
        InputError: if a name is blank, or the content can't be kept as JSON.
    """
    owner, view, name = named(owner), named(view), named(name)
    try:
        text = json.dumps(dict(content), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the filter {name!r} can't be kept as JSON ({error})") from error
    with opened(place).write() as session:
        key = {"owner": owner, "view": view, "name": name}
        row = session.scalars(select(SavedFilter).filter_by(**key).with_for_update()).one_or_none()
        if row is None:
            session.add(SavedFilter(**key, content=text))
        else:
            row.content = text


def listed(place: Place, owner: str, view: str) -> dict[str, dict[str, Any]]:
    """Somebody's filters of a view, by name."""
    query = select(SavedFilter).filter_by(owner=owner, view=view).order_by(SavedFilter.name)
    with opened(place).read() as session:
        return {row.name: json.loads(row.content) for row in session.scalars(query)}


def remove(place: Place, owner: str, view: str, name: str) -> None:
    """Takes a filter away; one that isn't there is as good as taken away."""
    with opened(place).write() as session:
        session.execute(delete(SavedFilter).filter_by(owner=owner, view=view, name=name))
