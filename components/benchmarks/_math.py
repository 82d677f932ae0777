r"""Mathematical answers, read and compared by math-verify."""

from __future__ import annotations


def read(answer: str) -> str | None:
    r"""What math-verify reads out of an answer (a box first, else the last formula or number), or None.

    >>> read("So it is $\\boxed{\\frac{1}{2}}$."), read("I don't know.")
    ('1/2', None)
    """
    from math_verify import parse

    found = parse(str(answer))
    return str(found[0]) if found else None


def same(target: str, answer: str) -> bool:
    r"""Whether an answer states the target.

    >>> same("\\frac{1}{2}", "It is $\\boxed{0.5}$."), same("2", "It is $\\boxed{3}$, not 2.")
    (True, False)
    """
    from math_verify import parse, verify

    return bool(verify(parse(f"${target}$"), parse(str(answer))))
