"""From what people said to preference data. Pure: the same snapshot and settings give the same rows.

A **vote** counts for a prompt and two models; what enough reviewers agree on becomes a pair. An **edited answer** is chosen, the
answer as it was rejected. **Thumbs** are labels of single answers (split ``labelled``, which KTO reads), and a pair where one
answer to a prompt was liked and another one disliked. Equal pairs are one row with all who said so; pairs that contradict each
other are left out. Sample of a row::

    {"prompt": "…", "chosen": "…", "rejected": "…", "agreement": 0.75, "sources": ["vote"], "votes": [3, 8, 9, 12], "feedback": [],
     "reviewers": ["reviewer-…", …], "chosen_by": {"model": "models:/m/2", "version": …, "digest": …}, "rejected_by": {…}}

``prompt`` is a question, or all messages before the answer where there are more: a system prompt, earlier turns. Answers are
about the same only if all of that is the same; another wording of a question, or another answer before it, is another branch.
Where an answer used tools, its calls and their results stand in ``prompt``, as the model saw them, and ``tools`` beside it: what
tools said isn't learnt. So two answers that saw other results make no pair; as labelled answers both stay.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from components.data.records import Record, is_call
from components.data.separate import normalised
from components.errors import LapidarError
from components.reviews import diagnosis
from components.reviews.snapshot import Remark, Said
from components.reviews.standing import Contender, Vote, agreement_of

Prompt = str | list[dict[str, Any]]


class Rules(Protocol):
    """What decides which of it becomes data; see ``components.data.sources.feedback.Config``."""

    @property
    def models(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def min_agreement(self) -> float: ...  # noqa: D102
    @property
    def min_votes(self) -> int: ...  # noqa: D102
    @property
    def ties(self) -> Literal["against", "ignore"]: ...  # noqa: D102
    @property
    def exclude_clickers(self) -> bool: ...  # noqa: D102
    @property
    def sources(self) -> tuple[Literal["vote", "edit", "thumb"], ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Pair:
    """Two answers of which people prefer one, and who said so."""

    prompt: Prompt
    chosen: Contender
    rejected: Contender
    agreement: float
    reviewers: frozenset[str]
    votes: frozenset[int] = frozenset()
    feedback: frozenset[int] = frozenset()
    sources: frozenset[str] = frozenset()
    tools: Sequence[Mapping[str, Any]] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """By what two pairs are the same."""
        return _same(self.prompt), normalised(self.chosen.answer), normalised(self.rejected.answer)


@dataclass
class Rows:
    """What came of it.

    Attributes:
        notes: how much was read, and why something was left out.
    """

    pairs: list[Record] = field(default_factory=list)
    labelled: list[Record] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)


def rows(said: Said, rules: Rules) -> Rows:
    """Preference rows and labelled answers, in an order that follows from the snapshot."""
    left: Counter[str] = Counter()
    votes = [vote for vote in said.votes if "vote" in rules.sources and _meant(rules, vote.a, vote.b)]
    remarks = [each for each in said.remarks if each.kind in rules.sources and _meant(rules, each.about)]
    clickers = sorted(diagnosis.clickers(votes)) if rules.exclude_clickers else []
    kept = [vote for vote in votes if vote.reviewer not in clickers]
    left["votes_of_clickers"] = len(votes) - len(kept)
    asked = [(question, each) for each in remarks if (question := _question(each, left)) is not None]
    pairs = _without_contradictions([*_voted(kept, rules, left), *_edited(asked), *_thumbed(asked, left)], left)
    liked = _labels(asked, left)
    notes: dict[str, Any] = {
        "votes": len(votes),
        "remarks": len(remarks),
        "reviewers": len({vote.reviewer for vote in votes} | {each.reviewer for each in remarks}),
        "clickers": clickers,
        "left_out": {name: count for name, count in sorted(left.items()) if count},
        "agreement": _agreement(kept),
    }
    return Rows([_row(pair) for pair in pairs], liked, notes)


def _meant(rules: Rules, *models: Contender) -> bool:
    return not rules.models or all({each.model, each.version} & set(rules.models) for each in models)


def _voted(votes: Sequence[Vote], rules: Rules, left: Counter[str]) -> Iterable[Pair]:
    """A pair for each prompt and two models on which enough reviewers agree."""
    subjects: dict[tuple[int, str, str], list[Vote]] = defaultdict(list)
    for vote in votes:
        subjects[vote.subject].append(vote)
    for about in subjects.values():
        verdicts = Counter(vote.verdict for vote in about)
        wins, losses = verdicts["first"], verdicts["second"]
        counted = len(about) if rules.ties == "against" else wins + losses
        share = max(wins, losses) / counted if counted else 0.0
        first, second = sorted((about[0].a, about[0].b), key=lambda each: each.model)
        chosen, rejected = (first, second) if wins > losses else (second, first)
        reason = (
            "few_votes" if len(about) < rules.min_votes
            else "tied" if wins == losses
            else "disagreed" if share < rules.min_agreement
            else "system_prompts" if chosen.system != rejected.system  # they weren't asked the same
            else "blank" if not (chosen.answer.strip() and rejected.answer.strip())
            else "same_answer" if normalised(chosen.answer) == normalised(rejected.answer)
            else ""
        )  # fmt: skip
        if reason:
            left[reason] += 1
            continue
        people = frozenset(vote.reviewer for vote in about)
        ids = frozenset(vote.id for vote in about)
        yield Pair(_under(chosen.system, about[0].text), chosen, rejected, share, people, votes=ids, sources=frozenset({"vote"}))


def _under(system: str, question: str) -> Prompt:
    """A question, with the system prompt that it was asked under."""
    if not system.strip():
        return question
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]


def _question(remark: Remark, left: Counter[str]) -> Prompt | None:
    """What stands before the answer: one question, or the whole conversation."""
    if not remark.messages or remark.messages[-1]["role"] != "user":
        left["no_question"] += 1
        return None
    if not all(text.strip() for text in (*(message["content"] for message in remark.messages), remark.about.answer)):
        left["blank"] += 1
        return None
    if remark.turn is None:
        left["tool_messages_missing"] += 1
        return None
    if remark.turn and not _answered(remark.turn):
        left["tool_messages_unreadable"] += 1
        return None
    if remark.turn:
        return [*remark.messages, *({**message, "content": message.get("content") or ""} for message in remark.turn)]
    return remark.messages[0]["content"] if len(remark.messages) == 1 else remark.messages


def _answered(turn: Sequence[Mapping[str, Any]]) -> bool:
    """Whether calls and results of a turn can be written by a template: each call whole and with its result behind it."""
    waiting: set[str] = set()
    for message in turn:
        if message.get("role") == "assistant" and not waiting:
            for call in message.get("tool_calls") or ():
                if not is_call(call):
                    return False
                waiting.add(call["id"])
        elif message.get("role") == "tool" and message.get("tool_call_id") in waiting:
            waiting.discard(str(message["tool_call_id"]))
        elif message.get("role") != "user" or waiting:
            return False
    return not waiting and turn[-1]["role"] != "assistant"


def _same(prompt: Prompt) -> str:
    """By what two prompts are the same: their messages, each normalised."""
    if isinstance(prompt, str):
        return normalised(prompt)
    return "\0".join(f"{message['role']}: {normalised(message['content'])}{_called(message)}" for message in prompt)


def _called(message: Mapping[str, Any]) -> str:
    """A message's calls, without the ids that differ each time."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return json.dumps(calls, sort_keys=True) if calls else ""


def _edited(asked: Sequence[tuple[Prompt, Remark]]) -> Iterable[Pair]:
    """What somebody made of an answer is better than the answer."""
    for question, each in asked:
        if each.kind == "edit" and normalised(each.text) != normalised(each.about.answer):
            better = Contender("person", None, None, each.text)
            yield _remarked(question, better, each.about, [each], "edit")


def _thumbed(asked: Sequence[tuple[Prompt, Remark]], left: Counter[str]) -> Iterable[Pair]:
    """A liked answer is better than a disliked one to the same question, where the same reviewer says both."""
    by_question: dict[tuple[str, str], list[tuple[Prompt, Remark]]] = defaultdict(list)
    for question, each in asked:
        if each.kind == "thumb":
            by_question[_same(each.messages), each.reviewer].append((question, each))
    for thumbs in by_question.values():
        liked = [(saw, each) for saw, each in thumbs if each.value > 0]
        for saw, better in liked:
            for other, worse in ((question, each) for question, each in thumbs if each.value < 0):
                if _same(saw) != _same(other):
                    left["saw_other_tool_results"] += 1
                elif normalised(better.about.answer) != normalised(worse.about.answer):
                    yield _remarked(saw, better.about, worse.about, [better, worse], "thumb")


def _remarked(question: Prompt, chosen: Contender, rejected: Contender, by: Sequence[Remark], source: str) -> Pair:
    people, ids = frozenset(each.reviewer for each in by), frozenset(each.id for each in by)
    return Pair(question, chosen, rejected, 1.0, people, feedback=ids, sources=frozenset({source}), tools=by[0].tools)


def _without_contradictions(pairs: Iterable[Pair], left: Counter[str]) -> list[Pair]:
    """Equal pairs as one; none of those that somebody else's feedback turns round."""
    found: dict[tuple[str, str, str], Pair] = {}
    for pair in pairs:
        known = found.get(pair.key)
        found[pair.key] = pair if known is None else _together(known, pair)
        left["merged"] += known is not None
    contradicted = {key for key in found if (key[0], key[2], key[1]) in found}
    left["contradicted"] = len(contradicted)
    return [pair for key, pair in found.items() if key not in contradicted]


def _together(one: Pair, other: Pair) -> Pair:
    return replace(
        one,
        agreement=min(one.agreement, other.agreement),
        reviewers=one.reviewers | other.reviewers,
        votes=one.votes | other.votes,
        feedback=one.feedback | other.feedback,
        sources=one.sources | other.sources,
    )


def _labels(asked: Sequence[tuple[Prompt, Remark]], left: Counter[str]) -> list[Record]:
    """Answers that all who said anything like, or dislike."""
    by_answer: dict[tuple[str, str], list[tuple[Prompt, Remark]]] = defaultdict(list)
    for question, each in asked:
        if each.kind == "thumb":
            by_answer[_same(question), normalised(each.about.answer)].append((question, each))
    found = []
    for thumbs in by_answer.values():
        question, first = thumbs[0]
        if len({each.value for _, each in thumbs}) > 1:
            left["disputed_thumbs"] += 1
            continue
        found.append(
            {
                "prompt": question,
                "completion": first.about.answer,
                "label": first.value > 0,
                "feedback": sorted(each.id for _, each in thumbs),
                "reviewers": sorted({each.reviewer for _, each in thumbs}),
                "by": _who(first.about),
                **({"tools": first.tools} if first.tools else {}),
            }
        )
    return found


def _row(pair: Pair) -> Record:
    return {
        "prompt": pair.prompt,
        "chosen": pair.chosen.answer,
        "rejected": pair.rejected.answer,
        "agreement": round(pair.agreement, 4),
        "sources": sorted(pair.sources),
        "votes": sorted(pair.votes),
        "feedback": sorted(pair.feedback),
        "reviewers": sorted(pair.reviewers),
        "chosen_by": _who(pair.chosen),
        "rejected_by": _who(pair.rejected),
        **({"tools": list(pair.tools)} if pair.tools else {}),
    }


def _who(model: Contender) -> Mapping[str, str | None]:
    return {"model": model.model, "version": model.version, "digest": model.digest}


def _agreement(votes: Sequence[Vote]) -> dict[str, float] | None:
    """Krippendorff's alpha of the votes that were used; None where no two are about the same."""
    try:
        found = agreement_of(votes)
    except LapidarError:
        return None
    return {"alpha": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4), "pairs": found.n}
