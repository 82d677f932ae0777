r"""Mathematical answers, read and compared by math-verify."""

from __future__ import annotations

from components.benchmarks._numerals import denies_last


def read(answer: str) -> str | None:
    r"""What math-verify reads out of an answer (a box first, else the last formula or number), or None.

    It takes the 8 of "7, and not 8", which the answer says it isn't: that counts as unread.

    >>> read("So it is $\\boxed{\\frac{1}{2}}$."), read("I don't know.")
    ('1/2', None)
    >>> read("7, and not 8"), read("São 7, e não 8.")
    (None, None)
    """
    from math_verify import parse

    found = [] if denies_last(answer) else parse(str(answer))
    return str(found[0]) if found else None


def same(target: str, answer: str) -> bool:
    r"""Whether an answer states the target.

    >>> same("\\frac{1}{2}", "It is $\\boxed{0.5}$."), same("2", "It is $\\boxed{3}$, not 2.")
    (True, False)
    """
    from math_verify import parse, verify

    return not denies_last(answer) and bool(verify(parse(f"${target}$"), parse(str(answer))))
