"""Sign-ins of local accounts that survive a reload, in two steps, so that no script ever sees what a browser keeps.

A right password gives a *ticket*, good once and for a short while; a page's script hands it to the server, which answers with a
cookie that scripts can't read: the *session*. The database knows only hashes of both. What an account may do is asked anew each
time, so a role that changes, a removed account and a signed-out session count at once, in every tab.
"""

from __future__ import annotations

import hashlib
import secrets
import time

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from components.database.review_models import AccountRow, SignInRow
from components.reviews import accounts
from components.reviews.accounts import Account
from components.reviews.opened import Place, opened

LASTS = 7 * 24 * 3600.0
"""Seconds from the password to the next time that it is asked for."""
_TICKET_LASTS = 120.0


def ticket(place: Place, name: str, password: str, now: float | None = None) -> str | None:
    """A ticket for a name and password; None if either is wrong or there were too many attempts.

    Args:
        now: seconds since 1970; the clock's by default.
    """
    found = accounts.verify(place, name, password, now)
    if found is None:
        return None
    moment = time.time() if now is None else now
    with opened(place).write() as session:
        session.execute(delete(SignInRow).where(SignInRow.until <= moment))
        account = session.scalars(select(AccountRow.id).where(AccountRow.name == found.name)).one_or_none()
        return None if account is None else _new(session, account, "ticket", moment + _TICKET_LASTS)


def redeem(place: Place, found: str, now: float | None = None) -> str | None:
    """The session that a ticket stands for; None if it was used, is too old, or never was one."""
    moment = time.time() if now is None else now
    with opened(place).write() as session:
        row = session.scalars(_known("ticket", found, moment).with_for_update()).one_or_none()
        if row is None:
            return None
        session.delete(row)
        return _new(session, row.account, "session", moment + LASTS)


def whose(place: Place, found: str, now: float | None = None) -> Account | None:
    """Whose session it is, with the role that they have now; None if it has ended."""
    moment = time.time() if now is None else now
    with opened(place).read() as session:
        row = session.scalars(_known("session", found, moment)).one_or_none()
        name = None if row is None else session.get_one(AccountRow, row.account).name
    return None if name is None else accounts.get(place, name)


def end(place: Place, found: str) -> None:
    """Ends a session, wherever it is open; one that isn't there has ended."""
    with opened(place).write() as session:
        session.execute(delete(SignInRow).where(SignInRow.kind == "session", SignInRow.digest == _digest(found)))


def _known(kind: str, found: str, moment: float) -> Select[SignInRow]:
    return select(SignInRow).where(SignInRow.kind == kind, SignInRow.digest == _digest(found), SignInRow.until > moment)


def _new(session: Session, account: int, kind: str, until: float) -> str:
    found = secrets.token_urlsafe(32)
    session.add(SignInRow(account=account, kind=kind, digest=_digest(found), until=until))
    return found


def _digest(found: str) -> str:
    return hashlib.sha256(found.encode("utf-8", "replace")).hexdigest()
