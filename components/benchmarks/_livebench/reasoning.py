"""Reasoning: webs of lies, zebra puzzles, spatial questions, walks through houses.

Rules of livebench/process_results/reasoning/{web_of_lies_v2,web_of_lies_v3,zebra_puzzle,spatial,house_traversal}/utils.py.
"""

from __future__ import annotations

import itertools
import re

from components.benchmarks._livebench.answers import boxed, plain, solutions

_WORDS = ("yes", "no", "unknown")
_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]
_NUMBERS = {word: str(value) for value, word in enumerate([*_ONES, *_TEENS])}
_SHAPES = ("tetrahedra", "tetrahedron", "triangle", "square")
NEW_PUZZLES = "2024-11-25"
"""From this release on a zebra puzzle asks several questions, and connections are answered in tags."""


def web_of_lies_v2(truth: str, answer: str) -> float | None:
    """Three words, each yes, no or unknown: in tags, in bold, boxed, or the last such three in the text."""
    tags = solutions(answer)
    said = tags[-1] if tags else _bold_words(answer)
    said = _boxed_words(answer, said)
    if said is None:
        return None
    counted = sum(said.count(word) for word in _WORDS)
    return float(said == truth.lower() or (counted == 3 and truth.lower() in said))


def web_of_lies_v3(truth: str, answer: str) -> float | None:
    """As many words as there are people: half for all of them, half for the share that is right."""
    tags = re.findall(r"<solution>(.*?)</solution>", answer)
    said = _boxed_words(answer, tags[-1] if tags else None)
    if said is None:
        return None
    right, given = truth.split(","), said.split(",")
    correct = sum(a == b for a, b in zip(right, given, strict=False))
    return ((correct == len(right)) + correct / len(right)) / 2


def zebra_puzzle(truth: str, answer: str, release: str) -> float | None:
    """Half for all answers of a puzzle, half for the share that is right; puzzles of early releases have one, in three stars."""
    if release < NEW_PUZZLES:
        return _old_zebra(truth, answer)
    right = truth.split(",")
    found = solutions(answer)
    if not found and (last := boxed(answer.replace("\\\\fbox{", "\\\\boxed{"))) is not None:
        found = [plain(last)]
    line = answer.strip().split("\n")[-1]
    if not found and line.count(",") == len(right) - 1:
        found = [line]
    if not found:
        return None
    given = found[0].split(",") if len(found) == 1 else ",".join(found).split(",")[-len(right) :]
    pairs = zip((_word(word) for word in right), (_word(word).replace("position", "") for word in given), strict=False)
    correct = sum(a in b for a, b in pairs)
    return ((correct == len(right)) + correct / len(right)) / 2


def spatial(truth: str, answer: str) -> float | None:
    """A number or a shape among the last three words in bold, or boxed."""
    right = truth.strip().lower()
    bold = [word.strip().lower() for word in re.findall(r"\*\*([^\*]+)\*\*", answer)][-3:]
    near = (shape in word and len(word) < 2 * len(shape) + 5 for word in bold for shape in _SHAPES if shape == right)
    if answer == truth or any(right in (word, _NUMBERS.get(word)) for word in bold) or any(near):
        return 1.0
    last = boxed(answer.replace("\\\\fbox{", "\\\\boxed{"))
    if last is not None and re.sub(r"\\(?:textbf|mathbf|text)\{|\}", "", last) == truth:
        return 1.0
    return 0.0 if bold or last is not None else None


def house_traversal(truth: str, answer: str) -> float | None:
    """Names in their order: one each in the last words in bold, or all of them in the last one."""
    names = truth.lower().split(" ")
    bold = [content for _, content in re.findall(r"(\*{2,})(.*?)\1", answer.lower())]
    if not bold:
        return None
    if len(bold) >= len(names) and all(name == bold[-1 - i] for i, name in enumerate(reversed(names))):
        return 1.0
    places = [bold[-1].find(name) for name in names]
    return float(places[0] >= 0 and all(a < b for a, b in itertools.pairwise(places)))


def _bold_words(answer: str) -> str | None:
    words = [word for part in re.findall(r"\*\*(.*?)\*\*", answer) for word in part.split()]
    clean = [word.lower().strip().replace(",", "").replace(".", "") for word in words]
    return ", ".join([word for word in clean if word in _WORDS][-3:]) or None


def _boxed_words(answer: str, said: str | None) -> str | None:
    if said is None or not said.strip():
        answer = answer.replace("\\\\boxed{\\\\textbf{", "\\\\boxed{").replace("\\\\fbox{", "\\\\boxed{")
        answer = answer.replace("\\textbf{", "\\boxed{")
        if (last := boxed(answer)) is not None:
            said = last
    if said is not None:
        return said
    threes = (", ".join(three) for three in itertools.product(_WORDS, repeat=3))
    places = [(answer.lower().find(three), three) for three in threes if three in answer.lower()]
    return max(places, key=lambda place: place[0])[1] if places else None


def _word(text: str) -> str:
    return text.strip().lower().replace("-", " ")


def _old_zebra(truth: str, answer: str) -> float | None:
    words = re.findall(r"\*\*\*(\w+)\*\*\*", answer) or re.findall(r"\b\w+\b", answer)
    if not words:
        return None
    last = words[-1].lower()
    digits = {str(value): _ONES[value] for value in range(1, 10)}
    return float(truth.lower() in (last, digits.get(last), f"{last} movies"))
