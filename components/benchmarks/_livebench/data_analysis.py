"""Data analysis: the type of a column, the map that joins two tables, a table in another format.

Rules of livebench/process_results/data_analysis/{cta,tablejoin,tablereformat}/utils.py.
"""

from __future__ import annotations

import ast
import json
import math
import numbers
import re
from collections.abc import Callable
from io import StringIO
from typing import Any

from components.benchmarks._livebench.answers import boxed, plain

NEW_TABLES = "2025-04-25"
"""From this release on the prompt names the formats in lines of their own."""
_INTRODUCTION = re.compile(r"^\s*(Here|Input)\b.*?\b(format|table)\s*[:)]\s*", re.IGNORECASE)
_SEPARATORS = {"csv": ",", "tsv": "\t"}


def column_type(truth: str, answer: str) -> float | None:
    """The column's name, boxed or as the end of the answer, whatever case and punctuation."""
    if "\\boxed{" in answer:
        found = boxed(answer)
        answer = "" if found is None else plain(found)
    right, given = _letters(truth), _letters(answer)
    return float(given.endswith(right)) if given else None


def join(truth: str | dict[str, str], answer: str) -> float | None:
    """F1 of the pairs of columns that a dictionary maps, rounded to two digits."""
    right = ast.literal_eval(truth) if isinstance(truth, str) else truth
    given = _dictionary(answer)
    if not given:
        return None
    hits = sum(right.get(key) == value and bool(value) for key, value in given.items())
    wrong = len(given) - hits
    missed = sum(not given.get(key) for key in right) + sum(bool(right.get(k)) and right[k] != v for k, v in given.items())
    return float(round(2 * hits / (2 * hits + wrong + missed), 2))


def reformat(truth: str, answer: str, question: str, release: str) -> float | None:
    """1 if the table has the true one's columns, rows and values (numbers to 1e-6), in any order of columns; else 0."""
    new = release >= NEW_TABLES
    kind = _target(question, new)
    read = _read_new if new else _read_old
    right = read(kind, truth)
    text = _INTRODUCTION.sub("", _fenced(answer)).strip()
    try:
        given = read(kind, text)
    except Exception:  # whatever pandas finds wrong with a model's table
        given = _among_text(kind, text, right)
        if given is None:
            return None
    if _same(given, right):
        return 1.0
    inside = _among_text(kind, text, right) if kind in ("csv", "jsonl") else None
    return float(inside is not None and _same(inside, right))


def _letters(text: str) -> str:
    return re.sub(r"[^\w]", "", text.lower().strip())


def _dictionary(answer: str) -> dict[Any, Any]:
    if tags := re.findall(r"<solution>(.*?)</solution>", answer, re.DOTALL):
        return _dictionary(tags[-1].strip())
    found = _literal(answer)
    if found is None:
        joined = answer.replace("\n", "")
        fences = (re.findall(rf"{start}(.*?)```", joined) for start in ("```python", "```json", "```"))
        blocks = next((block for block in fences if block), [])
        if not blocks and (last := boxed(joined)) is not None and "\\boxed" in joined:
            blocks = [re.sub(r"\\text{['|\"](.*?)['|\"]}", r"'\1'", last).replace("\\", "")]
        found = _literal((blocks or [answer])[-1].replace("null", "None"))
    return {key: value for key, value in found.items() if value is not None} if isinstance(found, dict) else {}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _target(question: str, new: bool) -> str:
    if new:
        (*_, line) = (line for line in question.split("\n") if "Target Format" in line)
        return line.split("Target Format: ")[1].strip().lower()
    return question.split("Please convert the Input Table from ")[1].split("format to ")[1].split(" format")[0].lower()


def _fenced(answer: str) -> str:
    """The table without what stands around it: in tags, or in a block that says JSON or HTML, or without fences."""
    if tags := re.findall(r"<solution>(.*?)</solution>", answer, re.DOTALL):
        return _fenced(tags[-1].strip())
    for kind in ("json", "html"):
        if blocks := re.findall(rf"```{kind}\n(.*?)```", answer, re.DOTALL):
            return str(blocks[-1]).strip()
    return re.sub(r"^```.*\n", "", answer).replace("&amp;", "&").replace("```", "").strip()


def _read_old(kind: str, text: str) -> Any:
    import pandas

    if kind == "json":
        return _first_that_reads(
            text,
            *({"orient": "index"}, {"orient": "records"}, {"orient": "records", "lines": True}, {"orient": "table"}),
            {"orient": "values"},
        )
    if kind == "markdown":
        return pandas.read_table(StringIO(text), sep="|", header=0, index_col=1, skipinitialspace=True)
    return _read_plain(kind, text)


def _read_new(kind: str, text: str) -> Any:
    import pandas

    if kind == "json":
        return _first_that_reads(text, {"orient": "table"}, {"orient": "index"}, {"orient": "records"})
    if kind == "markdown":
        header, _, *rows = [*text.strip().split("\n"), ""]
        table = pandas.read_table(StringIO("\n".join([header, *rows])), sep="|", header=0, skipinitialspace=True)
        table = table.iloc[:, 1:-1]
        for column in table.columns:
            if not pandas.api.types.is_numeric_dtype(table[column]):
                table[column] = table[column].astype(str).str.strip()
        return table
    return _read_plain(kind, text)


def _read_plain(kind: str, text: str) -> Any:
    import pandas

    readers: dict[str, Callable[[], Any]] = {
        "jsonl": lambda: pandas.read_json(StringIO(text), orient="records", lines=True),
        "html": lambda: pandas.concat(pandas.read_html(StringIO(text)), axis=0),
        "csv": lambda: pandas.read_csv(StringIO(text)),
        "tsv": lambda: pandas.read_csv(StringIO(text), sep="\t"),
    }
    if kind not in readers:
        raise ValueError(f"no table format {kind!r}")
    return readers[kind]()


def _first_that_reads(text: str, *options: dict[str, Any]) -> Any:
    import pandas

    for option in options[:-1]:
        try:
            return pandas.read_json(StringIO(text), **option)
        except Exception:  # noqa: S112 - the next form is tried
            continue
    return pandas.read_json(StringIO(text), **options[-1])


def _among_text(kind: str, text: str, right: Any) -> Any:
    """The table that begins with the true header somewhere in a text, or None."""
    import pandas

    if kind in _SEPARATORS:
        lines = text.strip().split("\n")
        header = _SEPARATORS[kind].join(right.columns).strip()
        start = next((i for i, line in enumerate(lines) if line.strip() == header), None)
        for end in range(len(lines), -1 if start is None else start, -1):
            try:
                return None if start is None else pandas.read_csv(StringIO("\n".join(lines[start:end])), sep=_SEPARATORS[kind])
            except Exception:  # noqa: S112 - there is text behind the table
                continue
    if kind == "jsonl":
        rows = []
        for line in text.strip().split("\n"):
            if line.startswith("{") and line.endswith("}") and all(str(name) in line for name in right.columns):
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    continue
        return pandas.DataFrame(rows) if rows else None
    return None


def _same(given: Any, right: Any) -> bool:
    """Whether two tables agree; an ``index`` column of either is left out."""
    try:
        tables = []
        for table in (given, right):
            table = table.rename(columns={name: name.strip() for name in table.columns})
            tables.append(table.drop(columns=[name for name in table.columns if name == "index"]))
        mine, true = tables
        if len(mine) != len(true) or sorted(mine.columns) != sorted(true.columns):
            return False
        return all(_equal(mine.iloc[i][name], true.iloc[i][name]) for i in range(len(mine)) for name in mine.columns)
    except Exception:  # names that are no text, values that can't be compared: LiveBench scores 0
        return False


def _equal(mine: Any, true: Any) -> bool:
    mine, true = (value.strip() if isinstance(value, str) else value for value in (mine, true))
    if isinstance(mine, numbers.Real) and isinstance(true, numbers.Real) and (isinstance(mine, float) or isinstance(true, float)):
        return (math.isnan(mine) and math.isnan(true)) or abs(float(mine) - float(true)) < 1e-6
    return bool(mine == true)
