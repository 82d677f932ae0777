"""Language: groups of connected words, film plots to be unscrambled, typing errors.

Rules of livebench/process_results/writing/{connections,plot_unscrambling,typos}/utils.py.
"""

from __future__ import annotations

import difflib
import re

from components.benchmarks._livebench.answers import boxed, edit_distance, plain, solutions
from components.benchmarks._livebench.reasoning import NEW_PUZZLES

_NO_SENTENCES = ("", "</PLOT_SUMMARY>", "**End of Plot Summary**")


def connections(truth: str, answer: str, release: str) -> float | None:
    """Share of the groups of four that are right: in tags, or boxed; in early releases the best list in bold."""
    if release < NEW_PUZZLES:
        return _old_connections(truth, answer)
    right = truth.split(",")
    found = _tags(answer)
    if not found and (last := boxed(answer)) is not None and "\\boxed" in answer:
        found = [plain(last)]
    if not found:
        return None
    words = [match.replace("\n", "") for match in found]
    given = words[0].split(",") if len(words) == 1 else ",".join(words).split(",")[-len(right) :]
    groups = _groups(right)
    return sum(group in groups for group in _groups(given)) / len(groups)


def plot(truth: str, answer: str) -> float | None:
    """Sentences in their order: each true one is matched with the likest of the answer; 1 minus edit distance over their number."""
    summary = re.search(r"<PLOT_SUMMARY>(.*)</PLOT_SUMMARY>", answer, re.DOTALL) or re.search(
        r"<PLOT_SUMMARY>(.*)", answer, re.DOTALL
    )
    right = _sentences(truth)
    given = _sentences(summary[1] if summary else answer)
    if not given:
        return None
    order = [given.index(difflib.get_close_matches(sentence, given, n=1, cutoff=0.0)[0]) for sentence in right]
    return 1 - edit_distance(range(len(right)), order) / len(right)


def typos(truth: str, answer: str) -> float | None:
    """The corrected text, word for word, in tags, between ``---``, or somewhere in the answer."""
    tags = re.findall(r"<solution>(.*?)</solution>", answer)
    if tags:
        given = tags[-1]
    else:
        given = answer.replace("<solution>", "").replace("</solution>", "")
        marked = re.search(r".* --- (.*?) --- .*", given)
        given = marked[1] if marked else given
    given = " ".join(filter(None, given.strip().split("\n")))
    return float(truth in given) if given else None


def _tags(answer: str) -> list[str]:
    joined = answer.replace("\n", "")
    for text in (answer, joined):
        if found := re.findall(r"<solution>(.*?)</solution>", text):
            return found
    return solutions(answer) or solutions(joined)


def _groups(words: list[str]) -> list[set[str]]:
    """Sets of four different words in the order given; a repeated word fills no place."""
    groups: list[set[str]] = [set()]
    for word in words:
        if len(groups[-1]) == 4:
            groups.append(set())
        groups[-1].add(word.strip().lower())
    return groups


def _old_connections(truth: str, answer: str) -> float | None:
    groups = _groups(truth.split(","))
    lists = [_groups(bold.split(",")) for bold in re.findall(r"\*\*(.*?)\*\*", answer.replace("\n", ""))]
    if not lists:
        return None
    return max(sum(any(group <= given for given in one) for group in groups) for one in lists) / len(groups)


def _sentences(text: str) -> list[str]:
    return [sentence for part in text.split(".") if (sentence := part.strip()) not in _NO_SENTENCES]
