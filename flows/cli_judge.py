"""``lapidar judge``: which of two answers is better, by a judge that is audited while it judges."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from components.errors import InputError
from components.judges.prompts import Mode
from components.settings import Settings
from flows import output

_SAY_EVERY = 5.0


@dataclass(frozen=True)
class Options:
    """What the command line says beside the sides."""

    judge: str
    mode: Mode = "pairwise"
    prompt: str | None = None
    criteria: Path | None = None
    family: str | None = None
    audit: str | None = None
    record: str | None = None
    canaries: float = 0.1
    max_tokens: int = 512
    judge_tokens: int = 1024
    temperature: float = 0.0
    seed: int = 0
    timeout: float = 120
    concurrency: int = 8
    again: bool = False


def judge(arguments: Sequence[str], options: Options, as_json: bool) -> None:
    """Compares the sides on the prompts, or with ``audit`` holds the judge against people."""
    settings = Settings()
    report = _audited(arguments, options, settings) if options.audit else _compared(arguments, options, settings)
    if as_json:
        output.document(report)
        return
    for line in lines(report):
        typer.echo(line)


def _compared(arguments: Sequence[str], options: Options, settings: Settings) -> dict[str, Any]:
    from components.judges import result
    from components.judges.answering import Sampling, open_sides
    from components.judges.items import read_prompts

    if len(arguments) < 3:
        raise InputError("judging needs two sides or more and a file of prompts: lapidar judge A B PROMPTS")
    if options.record is not None and (len(arguments) != 3 or options.record not in arguments[:2]):
        raise InputError(f"--record {options.record} must be one of exactly two sides that are judged")
    prompts = read_prompts(Path(arguments[-1]))
    sides = open_sides(arguments[:-1], settings, options.timeout)
    settings.prepare()
    sampling = Sampling(options.max_tokens, options.temperature, options.seed, options.concurrency)
    plan = result.Plan(options.canaries, options.seed)
    sealed = result.compare(_judge(options, settings), sides, prompts, settings, plan, sampling, _Progress(), options.again)
    report = result.read_report(sealed)
    report["calibrations"] = result.calibrations(report["judge"], settings)
    if options.record is not None:
        report["recorded"] = _record(report, options.record, settings)
    return report


def _audited(arguments: Sequence[str], options: Options, settings: Settings) -> dict[str, Any]:
    from components.judges import result
    from components.judges.items import calibration_file, read_calibration

    if arguments or options.record:
        raise InputError("--audit holds the judge against people's verdicts; it takes neither sides nor prompts nor --record")
    file = calibration_file(str(options.audit), settings.shared)
    items = read_calibration(file)
    settings.prepare()
    plan = result.Plan(options.canaries, options.seed)
    name = file.name if options.audit == str(file) else str(options.audit)
    sealed = result.calibrate(_judge(options, settings), items, name, settings, plan, _Progress(), options.again)
    return result.read_report(sealed)


def _judge(options: Options, settings: Settings) -> Any:
    from components.judges import choose

    try:
        criteria = options.criteria.read_text(encoding="utf-8") if options.criteria else None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--criteria {options.criteria} can't be read as text ({error})") from error
    return choose.judge(
        options.judge,
        settings,
        options.mode,
        prompt=options.prompt,
        criteria=criteria,
        maker=options.family,
        max_tokens=options.judge_tokens,
        seed=options.seed,
        timeout=options.timeout,
        concurrency=options.concurrency,
    )


def _record(report: Mapping[str, Any], uri: str, settings: Settings) -> dict[str, Any]:
    """Adds the judgement to a version's evidence; its gate is decided again."""
    from components.judges.judgement import judgement
    from components.registry import Registry

    registry = Registry(settings)
    other = next(side for side in report["models"] if side["name"] != uri)
    against = registry.resolve(other["name"]).digest if other["name"].startswith("models:/") else other["digest"] or other["name"]
    found = judgement(report, report["calibrations"], uri, against)
    shown = registry.supplement(uri, {"judgement": found})
    reasons = [f"{r['verdict']} {r['check']}: {r['text']}" for r in shown["gate"]["reasons"] if r["verdict"] != "pass"]
    return {"version": shown["uri"], "gate": shown["gate"]["verdict"], "reasons": reasons, "judgement": found}


class _Progress:
    """Says on the terminal every few seconds how far it is."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, what: str, done: int, of: int) -> None:
        if time.monotonic() - self._said > _SAY_EVERY:
            self._said = time.monotonic()
            typer.echo(f"{what}: {done} of {of}", err=True)


def lines(report: Mapping[str, Any]) -> list[str]:
    """A result as text for people."""
    from components.judges.diagnosis import LEAST_ITEMS

    judge = report["judge"]
    prompt = f", prompt {judge['prompt']} ({judge['prompts'][:12]})" if judge["mode"] != "score" else ""
    found = [f"judge {judge['name']}, {judge['mode']}{prompt}: {report['items']} items"]
    for pair in report.get("pairs", ()):
        found += _pair(pair)
    if (ranking := report.get("ranking")) and len(report["models"]) > 2:
        found += ["ranking (Bradley–Terry; points as Elo counts them, mean 0)"]
        for model in ranking["models"]:
            (best, worst), points = model["ranks"], model["points"]
            place = str(best) if best == worst else f"{best}–{worst}"
            found.append(f"  {place:>5}  {model['name']}  {points['value']:+.0f} [{points['low']:+.0f}, {points['high']:+.0f}]")
        found += [f"  {ranking['note']}"] if ranking["note"] else []
    found += ["audit", *_audit(report["audit"])]
    for calibration in report.get("calibrations", ()):
        found.append(f"  calibrated on {calibration['dataset']}: {_people(calibration['audit']['people'])}")
    if "pairs" in report and not report["calibrations"]:
        found.append(
            "  not calibrated: `lapidar judge --audit DATASET` holds this judge against people; until then it decides no gate"
        )
    findings = [*report["diagnosis"]]
    for calibration in report.get("calibrations", ()):
        findings += [{**f, "text": f"{f['text']} (on {calibration['dataset']})"} for f in calibration["diagnosis"]]
    few = report["audit"]["items"] < LEAST_ITEMS
    nothing = f"too few items for one, it takes {LEAST_ITEMS}" if few else "nothing found"
    found.append("diagnosis" if findings else f"diagnosis: {nothing}")
    found += [f"  {finding['name']}: {finding['text']}" for finding in findings]
    if "recorded" in report:
        found.append(f"recorded with {report['recorded']['version']}; its gate is now {report['recorded']['gate']}")
        found += [f"  {reason}" for reason in report["recorded"]["reasons"]]
    found.append(f"all verdicts: {report['path']}/verdicts.jsonl")
    return found


def _pair(pair: Mapping[str, Any]) -> list[str]:
    rate = pair["win_rate"]
    if rate is None:
        return [f"{pair['a']} against {pair['b']}: no verdict on any of {pair['items']} items"]
    better = pair["a"] if rate["low"] > 0.5 else pair["b"] if rate["high"] < 0.5 else None
    found = [
        f"{pair['a']} against {pair['b']}: "
        + (f"{better} is better" if better else "no difference is shown")
        + f"; win rate {_estimate(rate)} over {rate['n']} items",
        f"  {pair['wins']} won, {pair['losses']} lost, {pair['ties']} tied ({pair['disagreements']} of them because the orders "
        f"disagree), {pair['unparsed']} without a verdict",
    ]
    if pair["unparsed"] > 0.02 * pair["items"]:
        found.append("  more than 2 % have no verdict: the win rate is about the others only")
    if pair["length_controlled"]:
        found.append(f"  for answers of equal length {_estimate(pair['length_controlled'])}")
    if pair["scores"]:
        found.append(f"  mean score {_estimate(pair['scores']['a'])} against {_estimate(pair['scores']['b'])}")
    return found


def _audit(audit: Mapping[str, Any]) -> list[str]:
    found = []
    if position := audit["position"]:
        found.append(
            f"  same verdict in both orders {_estimate(position['consistency'])}; the order moved {position['to_first']} "
            f"to the first, {position['to_second']} to the second answer"
        )
    if audit["longer"]:
        found.append(f"  the longer answer won {_estimate(audit['longer'])} of {audit['longer']['n']} decided items")
    for effect in audit["style"]:
        found.append(
            f"  more {effect['name']}: {_estimate(effect['coefficient'])} logits a standard deviation (p {effect['p']:.2g})"
        )
    if (own := audit["own"]) and own["rate"]:
        found.append(f"  its own family ({own['judge']}) won {_estimate(own['rate'])} of {own['rate']['n']}")
    if injection := audit["injection"]:
        found.append(
            f"  a planted injection turned {_estimate(injection['turned'])} of {injection['turned']['n']} verdicts, "
            f"a harmless sentence {_estimate(injection['harmless'])}"
        )
    if audit["people"]:
        found.append(f"  people: {_people(audit['people'])}")
    if audit["unparsed"]["value"]:
        found.append(f"  without a verdict {_estimate(audit['unparsed'])}")
    return found


def _people(people: Mapping[str, Any]) -> str:
    majority = people["majority"]
    text = (
        f"κ {_estimate(majority['kappa'])} over {majority['kappa']['n']} items, agreement {majority['rate']['value']:.3f} "
        f"(by chance {majority['chance']:.3f})"
    )
    return text + (f"; people among each other κ {people['ceiling']:.3f}" if people["ceiling"] is not None else "")


def _estimate(value: Mapping[str, Any]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
