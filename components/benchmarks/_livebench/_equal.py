"""Whether two LaTeX expressions are equal, decided in a process of its own: simplifying some of them never ends."""

from __future__ import annotations

import multiprocessing
import resource
from typing import Any

_SECONDS = 8  # LiveBench's own limit; of the processor's time, so that a busy machine doesn't turn right answers into wrong ones
_PATIENCE = 20  # times as long by the clock
_CLOSE = 0.001


def equal_expressions(truth: str, given: str) -> bool:
    """Equal, or closer than 0.001, by SymPy's simplification; not equal if one can't be read, or if it takes too long."""
    if truth == given:
        return True
    import math_verify  # noqa: F401 - here, so that the child needn't
    import sympy  # noqa: F401

    mine, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_answer, args=(theirs, truth, given), daemon=True)
    child.start()
    theirs.close()
    try:
        return bool(mine.poll(_PATIENCE * _SECONDS) and mine.recv())
    except EOFError:
        return False
    finally:
        child.kill()
        child.join()
        mine.close()


def _answer(pipe: Any, truth: str, given: str) -> None:
    import sympy

    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    found = False
    left, right = _parse(truth), _parse(given)
    if left is not None and right is not None:
        try:
            difference = sympy.simplify(left - right)
            small = getattr(difference, "is_number", False) and sympy.Abs(difference) < _CLOSE
            found = bool(difference == 0 or small or getattr(difference, "is_zero_matrix", False))
        except Exception:
            found = bool(left == right)  # sets and the like have no difference
    pipe.send(found)


def _parse(formula: str) -> Any:
    from math_verify import LatexExtractionConfig, parse

    found = parse(f"${formula}$", extraction_config=[LatexExtractionConfig()], parsing_timeout=None)
    return found[0] if found and not isinstance(found[0], str) else None
