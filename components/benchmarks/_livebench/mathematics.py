r"""Mathematics: contests with letters (AMC, SMC) or integers (AIME), proofs to be put in order, and AMPS_Hard expressions.

Rules of livebench/process_results/math/{math_competitions,olympiad,AMPS_Hard}/utils.py. LiveBench parses expressions with
SymPy's lark grammar; here math-verify's parser does, and what it gives is compared by LiveBench's rule.
"""

from __future__ import annotations

import re

from components.benchmarks._livebench._equal import equal_expressions
from components.benchmarks._livebench.answers import boxed, edit_distance, plain

_CHOICE = re.compile(r"\\textbf{\(([A-E])\)\s?}(.*?)(?:\\qquad|\$)")
_NO_ANSWER = "NO ANSWER"
_ROWS = ("\\\\ ", "\\\\")
_SPACING = ("\\left", "\\right", "\\bigl", "\\bigr", "\\Bigl", "\\Bigr", "\\,", "\\;", "\n")


def contest(truth: str, answer: str, question: str) -> float | None:
    r"""A letter from A to E: in tags, four times in a row, boxed, as the choice's own value at the end, or on the last line.

    Args:
        question: whose choices are written ``\textbf{(A)} 7 \qquad``.
    """
    tags = re.findall(r"<solution>(.*?)</solution>", answer)
    if tags and len(set(tags[-1])) == 1 and tags[-1][0].lower() == truth.lower():
        return 1.0
    if truth * 4 in answer:
        return 1.0
    last = boxed(answer.replace("\\\\fbox{", "\\\\boxed{"))
    if last is not None and plain(last).lower() == truth.lower():
        return 1.0
    value = dict(_CHOICE.findall(question)).get(truth, "").strip().strip("$").strip("~")
    if value and value in answer[-20 - len(value) :]:
        return 1.0
    line = answer.strip().split("\n")[-1]
    if line.strip().replace("*", "").lower() == truth.lower():
        return 1.0
    inside = line.split("(")[1].split(")")[0].lower() if "(" in line and ")" in line else None
    if inside == truth.lower():
        return 1.0
    said = [*tags, *re.findall(r"([A-F])\1{3}", answer), *filter(None, (last, inside))]
    return 0.0 if said or line.strip(" *").lower() in tuple("abcde") else None


def aime(truth: str, answer: str) -> float | None:
    """An integer, in the last 50 characters."""
    if truth in answer[-50:]:
        return 1.0
    return 0.0 if re.search(r"\d", answer[-50:]) else None


def proof_order(truth: str, answer: str) -> float | None:
    """Numbers of formulas in the order of their places in a proof: 1 minus the edit distance over the longer list."""
    right = [int(number) for number in truth.split(",")]
    found = _numbers(answer)
    if not found:
        return None
    return 1 - edit_distance(found, right) / max(len(found), len(right))


def expression(truth: str | list[str], answer: str) -> float | None:
    """AMPS_Hard: the boxed expression, or the last one between dollar signs, equals the true one; constants of integration go."""
    right = truth[-1] if isinstance(truth, list) else truth
    answer = re.sub(r"\+\s*[Cc](?![_{])", "", answer).replace("\\\\fbox{", "\\\\boxed{")
    answer = answer.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    answer = _outside_rows(answer, [(mark, "") for mark in _SPACING] + [("\\cdot", "*")])
    right = right.replace("\\left", "").replace("\\right", "").replace(" ^", "^")
    right = _outside_rows(right, [("\\ ", "*")])
    tags = re.findall(r"<solution>(.*?)</solution>", answer)
    if tags:
        given: str | None = tags[-1]
    elif (last := boxed(answer)) is not None:
        given = _normal(last)
    else:
        given = _last_formula(answer)
    if given is not None:
        return float(equal_expressions(right, given))
    return 1.0 if answer.removesuffix(".").endswith(right) else None


def _outside_rows(text: str, changes: list[tuple[str, str]]) -> str:
    """Replaces marks, leaving the ends of a matrix's rows (two backslashes) as they are."""
    text = re.sub(r"\\\\\[.*?\]", r"\\\\", text)
    for number, row in enumerate(_ROWS):
        text = text.replace(row, f"<row {number}>")
    for old, new in changes:
        text = text.replace(old, new)
    for number, row in enumerate(_ROWS):
        text = text.replace(f"<row {number}>", row)
    return text


def _last_formula(answer: str) -> str | None:
    line = answer.split("\n")[-1]
    if line.count("$") < 2:
        return None
    close = line.rfind("$")
    close -= line[close - 1] == "$"
    formula = line[line.rfind("$", 0, close) + 1 : close]
    for mark in ("=", "\\quad \\text{or} \\quad"):
        if mark in formula:
            return _normal(formula.split(mark)[-1].strip())
    return _normal(formula)


def _normal(formula: str) -> str:
    r"""What a formula is worth: behind its last ``=``, without text and bold, ``\frac12`` with braces (Lewkowycz et al. 2022)."""
    formula = formula.split("=")[-1]
    formula = re.sub(r"(.*?)(\$)(.*?)(\$)(.*)", r"$\3$", formula)
    for command in ("text", "textbf", "overline"):
        formula = re.sub(rf"(\\{command}\{{)(.*?)(\}})", r"\2", formula)
    formula = re.sub(r"(\\boxed\{)(.*)(\})", r"\2", formula)
    formula = re.sub(r"(frac)([^{])(.)", r"frac{\2}{\3}", formula)
    formula = re.sub(r"(sqrt)([^{\[])", r"sqrt{\2}", formula).replace("$", "")
    return formula.replace(",", "") if formula.replace(",", "").isdigit() else formula


def _numbers(answer: str) -> list[int | str]:
    """The list behind the last "answer:", in the last box, or on the last line; what is no number holds its place."""
    lowered = answer.lower()
    found: list[int | str] = []
    if "answer:" in lowered:
        lines = lowered.strip().split("\n")
        at = max(i for i, line in enumerate(lines) if "answer:" in line)
        text = _bare(lines[at].split("answer:")[1])
        if not text and at < len(lines) - 1:
            text = _bare(lines[at + 1])
        found = [_integer(re.sub(r"[${}\\<>]|boxed", "", part.strip().split(" ")[-1])) for part in text.split(",")]
    if not _any_number(found) and "\\boxed" in answer:
        inside = boxed(answer)
        found = [_integer(part) for part in plain(answer if inside is None else inside).strip().split(",")]
    if not _any_number(found):
        parts = [_digits(part)[0] for part in lowered.strip().split("\n")[-1].split(",")]
        found = [_integer(part) for part in parts if part.strip()]
    if _any_number(found):
        return found
    found = []
    for i, part in enumerate(lowered.split("answer:")[-1].split(",")):
        number, removed = _digits(part.strip())
        if number.isdecimal():
            found.append(int(number))
        if i > 0 and removed > 0:
            break
    return found


def _bare(text: str) -> str:
    return text.replace("answer:", "").replace("**", "").replace(".", "").strip()


def _integer(text: str) -> int | str:
    try:
        return int(text.strip())
    except ValueError:
        return _NO_ANSWER


def _any_number(found: list[int | str]) -> bool:
    return any(isinstance(number, int) for number in found)


def _digits(text: str) -> tuple[str, int]:
    """(the first run of digits, number of characters beside it)."""
    match = re.search(r"\d+", text)
    return (match[0], len(text) - len(match[0])) if match else ("", len(text))
