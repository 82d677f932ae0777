"""Local accounts for small teams: argon2id (RFC 9106), backoff after wrong passwords, three roles.

An attempt is counted before its password is looked at, so that guesses in parallel don't slip past the count. A name that
doesn't exist, a wrong password and a locked account all take one computation of argon2 and get the same answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from components.database.review_models import AccountRow, SignInRow
from components.errors import InputError
from components.reviews.opened import LONGEST_NAME, Place, opened

if TYPE_CHECKING:
    from argon2 import PasswordHasher

Role = Literal["reviewer", "engineer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
SHORTEST, LONGEST = 8, 1024
FREE_ATTEMPTS = 5
_FIRST_LOCK, _LONGEST_LOCK = 30.0, 900.0


@dataclass(frozen=True)
class Account:
    """Who somebody is, and what they may see."""

    name: str
    role: Role


def create(place: Place, name: str, role: Role, password: str) -> Account:
    """Makes an account.

    Raises:
        InputError: if the name is taken or blank, the role none, or the password too short.
    """
    name, role = _name(name), _role(role)
    hashed = _hashed(password)
    with opened(place).write() as session:
        if _row(session, name) is not None:
            raise InputError(f"there is an account {name!r} already; choose another name, or change its role")
        session.add(AccountRow(name=name, role=role, password=hashed))
    return Account(name, role)


def verify(place: Place, name: str, password: str, now: float | None = None) -> Account | None:
    """The account of a name and password; None if either is wrong or there were too many attempts (nothing says which).

    Args:
        now: seconds since 1970; the clock's by default.
    """
    database, name = opened(place), name.strip().casefold()
    with database.write() as session:
        moment = time.time() if now is None else now
        row = _row(session, name, lock=True) if len(name) <= LONGEST_NAME else None
        allowed = row is not None and row.locked_until <= moment
        stored = row.password if row is not None and allowed else None
        if row is not None and allowed:
            row.failures += 1
            row.locked_until = moment + wait if (wait := _lock_seconds(row.failures)) else 0.0
    if len(password) > LONGEST or not _matches(stored or _nobody(), password) or stored is None:
        return None
    renewed = _hasher().hash(password) if _hasher().check_needs_rehash(stored) else None
    with database.write() as session:
        row = _row(session, name, lock=True)
        if row is None or row.password != stored:
            return None  # removed, or given another password, meanwhile
        row.failures, row.locked_until, row.password = 0, 0.0, renewed or stored
        return _account(row)


def listed(place: Place) -> list[Account]:
    """All accounts by name."""
    with opened(place).read() as session:
        return [_account(row) for row in session.scalars(select(AccountRow).order_by(AccountRow.name))]


def get(place: Place, name: str) -> Account | None:
    """An account by name; its role may have changed since somebody logged in."""
    with opened(place).read() as session:
        row = _row(session, name.strip().casefold())
        return _account(row) if row is not None else None


def set_role(place: Place, name: str, role: Role) -> Account:
    """Gives an account another role.

    Raises:
        InputError: if there is none, or it is the last admin.
    """
    role = _role(role)
    with opened(place).write() as session:
        row = _existing(session, name)
        if role != "admin":
            _keep_an_admin(session, row, least=0)
        row.role = role
        return _account(row)


def set_password(place: Place, name: str, password: str) -> Account:
    """Gives an account another password, takes a lock away, and ends its sign-ins.

    Raises:
        InputError: if there is none, or the password is too short.
    """
    hashed = _hashed(password)
    with opened(place).write() as session:
        row = _existing(session, name)
        row.password, row.failures, row.locked_until = hashed, 0, 0.0
        session.execute(delete(SignInRow).where(SignInRow.account == row.id))
        return _account(row)


def remove(place: Place, name: str) -> None:
    """Removes an account and ends its sign-ins; what its owner said stays.

    Raises:
        InputError: if there is none, or it is the last admin.
    """
    with opened(place).write() as session:
        row = _existing(session, name)
        _keep_an_admin(session, row)
        session.delete(row)


def _row(session: Session, name: str, lock: bool = False) -> AccountRow | None:
    query = select(AccountRow).where(AccountRow.name == name)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def _existing(session: Session, name: str) -> AccountRow:
    row = _row(session, name.strip().casefold(), lock=True)
    if row is None:
        known = ", ".join(session.scalars(select(AccountRow.name).order_by(AccountRow.name))) or "none"
        raise InputError(f"there is no account {name!r}; there are {known}")
    return row


def _keep_an_admin(session: Session, row: AccountRow, least: int = 1) -> None:
    """Refuses to take the only admin away, where there are ``least`` other accounts or more."""
    admins = list(session.scalars(select(AccountRow.id).where(AccountRow.role == "admin").with_for_update()))
    others = session.scalar(select(func.count()).select_from(AccountRow).where(AccountRow.id != row.id))
    if admins == [row.id] and (others or 0) >= least:
        raise InputError(f"{row.name} is the only admin; make another account one first")


def _account(row: AccountRow) -> Account:
    return Account(row.name, _role(row.role))


def _name(name: str) -> str:
    found = name.strip().casefold()
    if not found or len(found) > LONGEST_NAME or not found.isprintable():
        raise InputError(f"{name!r} can't be an account's name; it has 1 to {LONGEST_NAME} printable characters")
    return found


def _role(role: str) -> Role:
    for known in ROLES:
        if role == known:
            return known
    raise InputError(f"{role!r} is no role; roles are {', '.join(ROLES)}")


def _lock_seconds(failures: int) -> float:
    """How long no further attempt counts: nothing at first, then twice as long each time."""
    if failures < FREE_ATTEMPTS:
        return 0.0
    return min(_LONGEST_LOCK, _FIRST_LOCK * 2.0 ** min(failures - FREE_ATTEMPTS, 10))


@cache
def _hasher() -> PasswordHasher:
    """Argon2id with the second set of parameters that RFC 9106 recommends: 3 passes over 64 MiB, 4 lanes."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)


@cache
def _nobody() -> str:
    """A hash that no password is checked against in earnest: it makes an unknown name cost what a known one does."""
    import secrets

    return _hasher().hash(secrets.token_hex(32))


def _hashed(password: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        raise InputError(f"a password has {SHORTEST} to {LONGEST} characters; this one has {len(password)}")
    return _hasher().hash(password)


def _matches(stored: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
