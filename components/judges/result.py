"""A comparison, or a judge's calibration on people's verdicts, as a sealed result that goes on where it was cut off.

``verdicts.jsonl`` has every call, both orders and the canaries, with the judge's raw output; ``answers.jsonl`` what was judged;
``report.json`` what follows. The report is written when all verdicts are there, never for a part of them.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from components import methods
from components.artifacts import Sealed
from components.data import records
from components.errors import InputError, LapidarError
from components.inference.endpoint import EndpointError
from components.judges.answering import Sampling, Side, answers
from components.judges.asking import Identity, Judge
from components.judges.audit import Audit, audit, length_controlled, win_rate
from components.judges.bradley_terry import Meeting, rank
from components.judges.comparing import Judged, judge_items
from components.judges.diagnosis import diagnose
from components.judges.items import Item, Prompt, pairs
from components.judges.journal import Journal
from components.judges.verdicts import RATINGS
from components.settings import Settings, device_class
from components.store import Store, stage_key

logger = logging.getLogger(__name__)
REPORT = "report.json"
VERDICTS = "verdicts.jsonl"
OnProgress = Callable[[str, int, int], None]


class NoVerdict(InputError):
    """A judge that said nothing that could be read as a verdict."""


@dataclass(frozen=True)
class Plan:
    """How a judge is asked.

    Attributes:
        canary_share: share of the items that are judged again with a planted injection.
        seed: decides canaries, markers of the prompts and resamples.
    """

    canary_share: float = 0.1
    seed: int = 0


def compare(
    judge: Judge,
    sides: Sequence[Side],
    prompts: Sequence[Prompt],
    settings: Settings,
    plan: Plan | None = None,
    sampling: Sampling | None = None,
    on_progress: OnProgress | None = None,
    again: bool = False,
) -> Sealed:
    """Judges every two sides on every prompt; a comparison that was made already is opened.

    Args:
        again: judge although it was: what stands behind an endpoint's name may have changed.

    Raises:
        InputError: if the sides don't answer the same prompts.
        EndpointError: if a model or the judge can't be asked any more; what is finished is kept for the next call.
        NoVerdict: if no output of the judge held a verdict.
    """
    plan, sampling = plan or Plan(), sampling or Sampling()
    config = {"judge": asdict(judge.identity), **judge.settings, **asdict(plan), "sampling": asdict(sampling)}
    del config["sampling"]["concurrency"]  # not what is asked but how fast: who lowers it finds what is kept
    inputs = {f"side{i}": f"{side.name} {side.digest}" for i, side in enumerate(sides)}
    inputs["prompts"] = json.dumps([asdict(prompt) for prompt in prompts])

    def items(work: Path) -> list[Item]:
        said = [
            answers(side, prompts, work / f"answers-{i}.jsonl", sampling, _named(on_progress, f"answers of {side.name}"))
            for i, side in enumerate(sides)
        ]
        return pairs(prompts, said)

    def report(judged: Sequence[Judged]) -> dict[str, Any]:
        names = [side.name for side in sides]
        models = [{"name": side.name, "digest": side.digest} for side in sides]
        return {"models": models, "pairs": _pairs(judged, names, judge.identity.mode), "ranking": _ranking(judged, names, plan)}

    return _sealed("judge", judge, config, inputs, items, report, settings, plan, on_progress, again)


def calibrate(
    judge: Judge,
    items: Sequence[Item],
    dataset: str,
    settings: Settings,
    plan: Plan | None = None,
    on_progress: OnProgress | None = None,
    again: bool = False,
) -> Sealed:
    """Judges pairs that people have judged; the result is found again by ``calibrations``.

    Args:
        again: as ``compare``.

    Raises:
        EndpointError, NoVerdict: as ``compare``.
    """
    plan = plan or Plan()
    config = {"judge": asdict(judge.identity), **judge.settings, **asdict(plan), "dataset": dataset}
    inputs = {"items": json.dumps([asdict(item) for item in items])}
    head = {"dataset": dataset}
    return _sealed("calibrate", judge, config, inputs, lambda _: list(items), lambda _: head, settings, plan, on_progress, again)


def read_report(sealed: Sealed) -> dict[str, Any]:
    """The report of a result, with its key and digest."""
    found: dict[str, Any] = json.loads((sealed.path / REPORT).read_bytes())
    return found | {"key": sealed.key, "digest": sealed.digest, "path": str(sealed.path)}


def calibrations(judge: Mapping[str, Any], settings: Settings) -> list[dict[str, Any]]:
    """Reports of the calibrations of a judge with the same model, mode and prompt: the newest on each dataset."""
    store, same = Store(settings.stages, settings.store), ("name", "mode", "prompts")
    found = []
    for file in (settings.stages / "calibrate").glob(f"*/{REPORT}"):
        if "." in file.parent.name:
            continue  # damaged or replaced
        theirs = json.loads(file.read_bytes())
        if all(theirs["judge"][name] == judge[name] for name in same):
            sealed = store.open("calibrate", theirs["judge"]["mode"], file.parent.name)
            if sealed is not None:
                found.append((store.record(sealed).get("finished", ""), read_report(sealed)))
    return list({report["dataset"]: report for _, report in sorted(found, key=lambda pair: pair[0])}.values())


def _sealed(
    stage: str,
    judge: Judge,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    get_items: Callable[[Path], list[Item]],
    report: Callable[[Sequence[Judged]], dict[str, Any]],
    settings: Settings,
    plan: Plan,
    on_progress: OnProgress | None,
    again: bool,
) -> Sealed:
    store, method = Store(settings.stages, settings.store), judge.identity.mode
    key = stage_key(
        method=f"{stage}/{method}",
        config=config,
        inputs=inputs,
        seed=plan.seed,
        code=methods.code_digest(__name__, type(judge).__module__),
        versions=methods.versions(__name__, type(judge).__module__),
        device=device_class(settings),
    )
    if (known := store.open(stage, method, key)) is not None and not again:
        return known
    work = settings.work / stage / key
    with _alone(work):
        items = get_items(work)
        with Journal(work / VERDICTS) as journal:
            judged = _judged(judge, items, journal, plan, _named(on_progress, "verdicts"))
            calls = sorted(journal.records.values(), key=lambda record: str(record["key"]))
        out = work / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        records.write(out / VERDICTS, calls)
        records.write(out / "answers.jsonl", (asdict(item) for item in items))
        found = {
            "judge": asdict(judge.identity),
            "items": len(items),
            **report(judged),
            **audited(judged, judge.identity, plan.seed),
        }
        (out / REPORT).write_text(json.dumps(found, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
        record = {"config": dict(config), "finished": datetime.now(UTC).isoformat(timespec="seconds")}
        if known is not None and (different := store.make_room(known, out)) is not None:
            logger.warning("%s says something else than before: %s", judge.identity.name, different)
        sealed = store.seal(stage, method, key, out, record)
    shutil.rmtree(work, ignore_errors=True)
    return sealed


def audited(judged: Sequence[Judged], judge: Identity, seed: int) -> dict[str, Any]:
    """``audit`` and ``diagnosis`` of a report."""
    found: Audit = audit(judged, judge.family, seed)
    return {"audit": asdict(found), "diagnosis": [asdict(finding) for finding in diagnose(found)]}


def _judged(
    judge: Judge, items: Sequence[Item], journal: Journal, plan: Plan, on_progress: Callable[[int, int], None] | None
) -> list[Judged]:
    try:
        judged = judge_items(judge, items, journal, canary_share=plan.canary_share, seed=plan.seed, on_progress=on_progress)
    except EndpointError as error:
        if error.hopeless:
            error.args = (f"{error}; {len(journal.records)} verdicts are kept, run again to go on",)
        raise
    if all(one.outcome is None for one in judged):
        raise NoVerdict(_no_verdict(judge.identity, judged, journal.put_aside()))
    return judged


def _no_verdict(judge: Identity, judged: Sequence[Judged], place: Path) -> str:
    """What a judge said in place of a verdict."""
    opinions = [opinion for one in judged for opinion in one.opinions.values()]
    shown = next((" ".join(opinion.raw[0].split())[:80] for opinion in opinions if opinion.raw), "")
    fault = next((opinion.error for opinion in opinions if opinion.error), None)
    cut = sum(opinion.cut for opinion in opinions)
    said = f"it says, for example, {shown!r}" if shown else fault or "it says nothing"
    form = "a rating such as [[7]]" if judge.mode == "rubric" else "[[A]], [[B]] or [[C]]"
    limit = f" ({cut} of {len(opinions)} outputs were cut by the token limit: --judge-tokens raises it)" if cut else ""
    return (
        f"{judge.name} can't judge: none of {len(judged)} items has a verdict, because its output never ends in {form} "
        f"in both orders; {said}{limit}. No score is given; choose a judge that follows instructions. All outputs: {place}"
    )


def _pairs(judged: Sequence[Judged], names: Sequence[str], mode: str) -> list[dict[str, Any]]:
    found = []
    for i, j in combinations(range(len(names)), 2):
        mine = [one for one in judged if one.item.pair == f"{i}-{j}"]
        outcomes = [one.outcome for one in mine]
        rate, controlled = win_rate(mine), length_controlled(mine)
        found.append(
            {
                "a": names[i],
                "b": names[j],
                "items": len(mine),
                "wins": outcomes.count("a"),
                "losses": outcomes.count("b"),
                "ties": outcomes.count("tie"),
                "disagreements": sum(one.consistent is False for one in mine),
                "unparsed": outcomes.count(None),
                "win_rate": asdict(rate) if rate else None,
                "length_controlled": asdict(controlled) if controlled else None,
                "scores": _scores(mine, mode),
            }
        )
    return found


def _scores(judged: Sequence[Judged], mode: str) -> dict[str, Any] | None:
    """Mean rating or reward of each side, over both passes, where the judge gives any; none where all rewards are equal."""
    from components.statistics import bootstrap_mean, mean

    by_side: dict[str, list[float]] = {"a": [], "b": []}
    for one in judged:
        scores = {order: opinion.scores for order, opinion in one.opinions.items()}
        ab, ba = scores["ab"], scores["ba"]
        if ab is not None and ba is not None:
            by_side["a"].append((ab[0] + ba[1]) / 2)
            by_side["b"].append((ab[1] + ba[0]) / 2)
    if len(by_side["a"]) < 2:
        return None
    seen = [score for values in by_side.values() for score in values]
    if mode == "rubric":
        return {side: asdict(mean(values, RATINGS)) for side, values in by_side.items()}
    span = (min(seen), max(seen))  # a reward has no bounds but those that are seen
    return None if span[0] == span[1] else {side: asdict(bootstrap_mean(values, span)) for side, values in by_side.items()}


def _ranking(judged: Sequence[Judged], names: Sequence[str], plan: Plan) -> dict[str, Any] | None:
    meetings = []
    for one in judged:
        a, b = (names[int(place)] for place in one.item.pair.split("-"))
        if one.outcome is not None:
            meetings.append(Meeting(one.item.id, a, b, one.outcome))
    if {name for meeting in meetings for name in (meeting.a, meeting.b)} != set(names):
        return None  # a model without any verdict has no place
    found = rank(meetings, plan.seed)
    models = [{"name": name, "points": asdict(points), "ranks": found.ranks[name]} for name, points in found.points.items()]
    return {"models": models, "note": found.note}


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keeps two commands from writing the same result at once."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LapidarError(f"another command makes this very result now ({work}); wait for it") from error
        yield


def _named(on_progress: OnProgress | None, what: str) -> Callable[[int, int], None] | None:
    return None if on_progress is None else lambda done, of: on_progress(what, done, of)
