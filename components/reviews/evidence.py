"""What the votes say of one version, as the gate's check of votes reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from components.artifacts import Estimate
from components.errors import InputError, LapidarError
from components.reviews import diagnosis
from components.reviews.opened import Place, opened, pseudonym, secret
from components.reviews.standing import Contender, Vote, agreement_of, votes

RESAMPLES = 2000


def evidence(place: Place, version: str, digest: str, against: str | None = None) -> dict[str, Any]:
    """``win_rate`` (value, low, high, n), ``reviewers``, ``agreement`` and who the others were.

    A tie counts half a win, as do votes that both are bad. Reviewers who vote as if by chance are left out and named by their
    pseudonyms.

    Args:
        version: ``models:/name/3``.
        digest: sha256 of its weights: votes on the same weights under another name count as well.
        against: only votes against this version; against whomever it met by default.

    Raises:
        InputError: if nobody has voted on it yet.
    """
    database = opened(place)
    with database.read() as session:
        salt = secret(session)
    about = [vote for vote in votes(database) if _meets(vote, version, digest, against)]
    if not about:
        rival = f" against {against}" if against else ""
        raise InputError(f"nobody has voted on {version}{rival} yet; reviewers meet it in the arena")
    clickers = diagnosis.clickers(about)
    kept = [vote for vote in about if vote.reviewer not in clickers]
    return {
        "win_rate": asdict(win_rate(kept, version, digest)) if kept else {},
        "reviewers": len({vote.reviewer for vote in kept}),
        "agreement": _agreement(kept),
        "prompts": len({vote.prompt for vote in kept}),
        "against": sorted({_other(vote, version, digest).model for vote in kept}),
        "left_out": {pseudonym(name, salt): sum(vote.reviewer == name for vote in about) for name in sorted(clickers)},
    }


def win_rate(about: Sequence[Vote], version: str, digest: str, seed: int = 0) -> Estimate:
    """Share of the votes that a version won, with an interval; ``n`` counts votes.

    Votes on one prompt aren't independent: the bootstrap draws prompts. Where few prompts agree by chance it is too sure of
    itself, so the interval is never narrower than that of as many votes that are independent.
    """
    import numpy as np

    from components.statistics import mean

    shares: dict[int, list[float]] = defaultdict(list)
    for vote in about:
        shares[vote.prompt].append(_share(vote, version, digest))
    won = np.array([sum(each) for each in shares.values()])
    cast = np.array([len(each) for each in shares.values()])
    simple = mean([share for each in shares.values() for share in each])
    draws = np.random.default_rng(seed).multinomial(len(won), np.full(len(won), 1 / len(won)), RESAMPLES)
    values = (draws @ won) / (draws @ cast)
    low, high = (float(np.quantile(values, q)) for q in (0.025, 0.975))
    return Estimate(simple.value, min(low, simple.low), max(high, simple.high), simple.n)


def _share(vote: Vote, version: str, digest: str) -> float:
    if vote.choice not in ("a", "b"):
        return 0.5
    return float(_is(vote.a if vote.choice == "a" else vote.b, version, digest))


def _meets(vote: Vote, version: str, digest: str, against: str | None) -> bool:
    a, b = _is(vote.a, version, digest), _is(vote.b, version, digest)
    if a == b:
        return False
    other = vote.b if a else vote.a
    return against is None or against in (other.model, other.version)


def _other(vote: Vote, version: str, digest: str) -> Contender:
    return vote.b if _is(vote.a, version, digest) else vote.a


def _is(model: Contender, version: str, digest: str) -> bool:
    return version in (model.model, model.version) or model.digest == digest


def _agreement(about: Sequence[Vote]) -> dict[str, Any] | None:
    """Krippendorff's alpha; None where no two votes are about the same."""
    try:
        return {"alpha": asdict(agreement_of(about))}
    except LapidarError:
        return None
