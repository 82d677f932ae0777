"""Finds rows of a DVC data version by their words, and says where each of them stands: version, split and row.

BM25 after Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the non-negative idf that
Lucene uses. No library for it is in the lock. The files' md5 is compared with what the ``.dvc`` file names before they are read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.artifacts import SplitName
from components.config import MethodConfig

if TYPE_CHECKING:
    import numpy as np

_WORD = re.compile(r"\w+")
_LONGEST_QUERY = 1000
_MOST_ROWS = 20


class Config(MethodConfig):
    """Settings of the retrieval.

    Attributes:
        data: folder of the version, beside its ``.dvc`` file.
        among: which of its splits are searched; held-out rows aren't unless they are named.
        characters: how much of a row is returned.
        k1: how soon more of the same word stops to count.
        b: how much longer rows are held back; 0 not at all.
    """

    method: Literal["retrieval"] = "retrieval"
    data: Path = Path("data")
    among: tuple[SplitName, ...] = ("corpus", "sft", "preference", "prompts")
    characters: int = Field(600, ge=50, le=4000)
    k1: float = Field(1.2, ge=0.0)
    b: float = Field(0.75, ge=0.0, le=1.0)


@dataclass(frozen=True)
class Index:
    """Postings of all rows.

    Attributes:
        rows: (split, number of the row from 1, its text).
        postings: by word, the rows that hold it and what it adds to their score.
    """

    repository: str
    revision: str | None
    md5: str
    rows: list[tuple[str, int, str]]
    postings: dict[str, tuple[np.ndarray, np.ndarray]]


def run(config: Config, query: str, limit: int = 3) -> str:
    """Searches the team's data set for rows about something.

    Args:
        query: Words that the rows should hold.
        limit: How many rows to return, 20 at most.
    """
    import numpy as np

    if not 1 <= limit <= _MOST_ROWS:
        raise ValueError(f"limit={limit}; give 1 to {_MOST_ROWS}")
    folder = config.data.expanduser().absolute()
    index = _index(folder, _stamp(folder), config.among, config.k1, config.b)
    scores = np.zeros(len(index.rows))
    for word in set(words(query[:_LONGEST_QUERY])):
        if (found := index.postings.get(word)) is not None:
            scores[found[0]] += found[1]
    best = [int(i) for i in np.lexsort((np.arange(len(scores)), -scores))[:limit] if scores[i] > 0]
    rows = [_shown(index, i, float(scores[i]), config) for i in best]
    source = {"repository": index.repository, "revision": index.revision, "path": folder.name, "md5": index.md5}
    return json.dumps({"source": source, "rows": rows, "searched": len(index.rows)}, ensure_ascii=False)


def words(text: str) -> list[str]:
    """The words of a text, in lower case.

    >>> words("Tom's 3 Äpfel")
    ['tom', 's', '3', 'äpfel']
    """
    return _WORD.findall(text.casefold())


def _shown(index: Index, at: int, score: float, config: Config) -> dict[str, Any]:
    split, number, text = index.rows[at]
    cut = text if len(text) <= config.characters else text[: config.characters] + "…"
    return {"split": split, "row": number, "score": round(score, 4), "text": cut}


def _stamp(folder: Path) -> str:
    """What changes when the version does."""
    try:
        return folder.with_name(f"{folder.name}.dvc").read_text(encoding="utf-8")
    except OSError:
        return ""


@lru_cache(maxsize=2)
def _index(folder: Path, stamp: str, splits: tuple[str, ...], k1: float, b: float) -> Index:
    from components.data.checks import checked
    from components.data.workspace import Workspace
    from components.errors import InputError
    from components.settings import Settings

    if not stamp or not folder.is_dir():
        raise InputError(f"{folder} is no data version: it needs {folder.name}.dvc beside it; see `lapidar data build`")
    ref = checked(Workspace(folder.parent, Settings()), folder.name)
    rows = [
        (split, number, _text(json.loads(line)))
        for split in splits
        if split in ref.splits
        for number, line in enumerate(ref.file(split).read_text(encoding="utf-8").splitlines(), start=1)
    ]
    if not rows:
        raise InputError(f"{folder} has no rows in {', '.join(splits)}; it has {', '.join(sorted(ref.splits))}")
    return Index(str(ref.repository), ref.revision, ref.md5, rows, _postings([text for _, _, text in rows], k1, b))


def _postings(texts: list[str], k1: float, b: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Weight of every word in every row that holds it: idf · f (k1 + 1) / (f + k1 (1 - b + b · length / mean length))."""
    import numpy as np

    counts = [Counter(words(text)) for text in texts]
    lengths = np.array([sum(count.values()) for count in counts], dtype=float)
    norm = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9))
    places: dict[str, list[int]] = {}
    for i, count in enumerate(counts):
        for word in count:
            places.setdefault(word, []).append(i)
    found = {}
    for word, rows in places.items():
        at = np.array(rows)
        frequency = np.array([counts[i][word] for i in rows], dtype=float)
        idf = np.log1p((len(texts) - len(rows) + 0.5) / (len(rows) + 0.5))
        found[word] = (at, idf * frequency * (k1 + 1) / (frequency + norm[at]))
    return found


def _text(row: Any) -> str:
    """All texts of a row."""
    if isinstance(row, str):
        return row
    if isinstance(row, dict):
        return "\n".join(filter(None, (_text(value) for name, value in row.items() if name not in ("role", "id"))))
    return "\n".join(filter(None, map(_text, row))) if isinstance(row, list) else ""
