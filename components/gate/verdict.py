"""What a gate rests on and what it says: evidence, champion, reasons, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from components.noise import Floors

if TYPE_CHECKING:
    from components.recipe import RegisterConfig

Verdict = Literal["pass", "fail", "unknown"]
Item = Mapping[str, Any]
_MAY_LACK = ("noise", "judgement", "votes", "speed")


@dataclass(frozen=True)
class Evidence:
    """Everything that a registered version carries; JSON-ready values only.

    Attributes:
        digest: sha256 of the registered weights (adapter, merged, export).
        dataset: ``md5``, ``repository``, ``revision``, ``path`` of the dataset version.
        recipe: the resolved recipe.
        code: ``revision`` (git) and ``clean``.
        lock: sha256 of the lock file.
        seeds: seed by what it seeds; usually ``{"recipe": 0}``.
        stages: one record a stage: ``name, method, key, digest, status, seconds`` and, of sealed ones, ``code`` (digest of the
            source), ``versions`` (of packages) and ``device``.
        chat_template: sha256 of the chat template.
        metrics: ``{stage: {benchmark: {metric: {value, low, high, n}}}}``.
        evaluation: ``{benchmark: {metric: {value, low, high, n}}}`` of the registered model.
        parity: ``ok`` and, by hand-over, ``reload…: {identical_tokens, max_logit_difference}``,
            ``merged`` and ``exported``: ``{kl, top1}``.
        contamination: ``state`` (clean, contaminated or not checked) and what it rests on.
        licence: SPDX id or a sentence.
        sizes: bytes of the uploaded weights by folder: ``adapter``, ``merged``, ``export``.
        noise: what was evaluated (``model`` and ``settings`` by benchmark, as in ``components.noise``) and, where they are
            known, its ``floors``: ``{benchmark: {metric: {half_width, runs}}}``.
        judgement: a judge's verdict and its audit: ``judge, prompts, against, win_rate, audit, diagnosis``.
        votes: people's blind votes: ``win_rate``, ``reviewers``, ``agreement``.
        speed: ``first_token_ms`` and ``tokens_per_second`` of one chat with what is served; not part of the evidence's own digest.
        machine: ``cpu``, ``instructions``, ``threads``; not part of the evidence's own digest.
        runs: ``lapidar``, ``mlflow``, ``prefect`` run ids; not part of the evidence's own digest.

    """

    digest: str
    dataset: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    lock: str | None = None
    seeds: dict[str, int] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    chat_template: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    contamination: dict[str, Any] = field(default_factory=dict)
    licence: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    noise: dict[str, Any] = field(default_factory=dict)
    judgement: dict[str, Any] = field(default_factory=dict)
    votes: dict[str, Any] = field(default_factory=dict)
    speed: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values; what a run may lack isn't named then, so that equal evidence has an equal id for good."""
        return {name: value for name, value in asdict(self).items() if value or name not in _MAY_LACK}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Evidence:
        """The inverse of ``to_dict``."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in known})


@dataclass(frozen=True)
class Champion:
    """The version that the candidate is compared with.

    Attributes:
        floors: noise floors of its evaluation.
    """

    version: str
    digest: str
    items: Sequence[Item] | None
    floors: Floors = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    """What one check found.

    Attributes:
        text: an English sentence.
        figures: the numbers that it rests on, JSON-ready.
        code: which sentence ``text`` is, so that it can be said in another language; empty in gates of versions before there were.
        values: what the sentence names beside the figures, JSON-ready.
    """

    check: str
    verdict: Verdict
    text: str
    figures: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Gate:
    """The verdict on one candidate against one champion.

    Attributes:
        digest: the candidate's weights.
        champion: digest of the champion it was compared with, None if there was none.

    """

    verdict: Verdict
    reasons: list[Reason]
    digest: str
    champion: str | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values; a reason doesn't name what it hasn't."""
        content = asdict(self)
        content["reasons"] = [
            {name: value for name, value in reason.items() if value or name not in ("figures", "code", "values")}
            for reason in content["reasons"]
        ]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Gate:
        """The inverse of ``to_dict``."""
        reasons = [Reason(**reason) for reason in content["reasons"]]
        return cls(content["verdict"], reasons, content["digest"], content["champion"])


@dataclass(frozen=True)
class Case:
    """What every check looks at.

    Attributes:
        items: the candidate's evaluation items.
    """

    evidence: Evidence
    champion: Champion | None
    config: RegisterConfig
    items: Sequence[Item]


def number(value: Any) -> float | None:
    """A number, or None for what is missing. NaN compares as false with every limit, so it fails."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
