"""Exact arithmetic: the expression is parsed, never evaluated as a program, and its numbers are fractions, never floats.

>>> run(Config(), "0.1 + 0.2"), run(Config(), "2^10 / 3"), run(Config(), "sqrt(2)")
('0.3', '1024/3 (about 341.33333333333333333)', 'about 1.4142135623730950488')
"""

from __future__ import annotations

import ast
import math
import re
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Literal

from pydantic import Field

from components.config import MethodConfig

_ALLOWED = re.compile(r"[0-9A-Za-z_.,+\-*/%^() \t\n]*")
_NAMES = {"pi": Fraction(Decimal("3.1415926535897932384626433832795")), "e": Fraction(Decimal("2.7182818284590452353602874713527"))}
_FACTORIAL_MOST = 500


class Config(MethodConfig):
    """Settings of the calculator.

    Attributes:
        length: longest expression, in characters.
        bits: largest numerator or denominator on the way.
        digits: significant digits of a result that has no finite decimal form.
    """

    method: Literal["calculator"] = "calculator"
    length: int = Field(400, ge=1, le=2000)
    bits: int = Field(4096, ge=64, le=14_000)
    digits: int = Field(20, ge=2, le=50)


def run(config: Config, expression: str) -> str:
    """Calculates an arithmetic expression exactly.

    Args:
        expression: Numbers, + - * / // % ^, parentheses, abs, round, floor, ceil, min, max, gcd, factorial, sqrt, pi, e.
    """
    if len(expression) > config.length:
        raise ValueError(f"the expression has {len(expression)} characters; {config.length} are the most")
    text = expression.strip().replace("×", "*").replace("·", "*").replace("÷", "/").replace("−", "-").rstrip("= ")
    if (bad := _ALLOWED.match(text)) is None or bad.end() != len(text):
        raise ValueError(f"{text[bad.end() if bad else 0]!r} isn't arithmetic; write numbers, operators and functions only")
    try:
        tree = ast.parse(text.replace("^", "**"), mode="eval")
    except (SyntaxError, MemoryError, RecursionError, ValueError) as error:
        raise ValueError(f"{text!r} isn't an expression") from error
    return _shown(_Walker(config, text.replace("^", "**")).value(tree.body), config)


class Inexact(Fraction):
    """A number that was rounded on the way."""


class _Walker:
    """Computes a tree of numbers and operators, and refuses every other node."""

    def __init__(self, config: Config, text: str) -> None:
        self._config, self._text = config, text

    def value(self, node: ast.expr) -> Fraction:
        return self._checked(self._value(node))

    def _value(self, node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return _number(ast.get_source_segment(self._text, node) or "", self._config)
        if isinstance(node, ast.Name) and node.id.lower() in _NAMES:
            return Inexact(_NAMES[node.id.lower()])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
            found = self.value(node.operand)
            return type(found)(-found) if isinstance(node.op, ast.USub) else found
        if isinstance(node, ast.BinOp):
            left, right = self.value(node.left), self.value(node.right)
            result = self._operate(node.op, left, right)
            return Inexact(result) if isinstance(left, Inexact) or isinstance(right, Inexact) else result
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._call(node.func.id.lower(), [self.value(argument) for argument in node.args])
        raise ValueError(f"{ast.unparse(node)[:60]!r} isn't arithmetic; write numbers, operators and functions only")

    def _operate(self, operator: ast.operator, left: Fraction, right: Fraction) -> Fraction:
        if isinstance(operator, (ast.Div, ast.FloorDiv, ast.Mod)) and right == 0:
            raise ValueError("division by zero")
        match operator:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
            case ast.FloorDiv():
                return Fraction(left // right)
            case ast.Mod():
                return left % right
            case ast.Pow():
                return self._power(left, right)
        raise ValueError(f"{type(operator).__name__} isn't an operator of arithmetic")

    def _power(self, base: Fraction, exponent: Fraction) -> Fraction:
        if base == 0 and exponent < 0:
            raise ValueError("division by zero")
        if exponent == Fraction(1, 2):
            return _root(base, self._config)
        if exponent.denominator != 1:
            raise ValueError("exponents are whole numbers, or 1/2")
        if abs(base) != 1 and base != 0:
            size = max(base.numerator.bit_length(), base.denominator.bit_length())
            if (size - 1) * abs(exponent.numerator) > self._config.bits:
                raise ValueError(f"the result has more than {self._config.bits} bits")
        exact = Fraction(base) ** (exponent.numerator if abs(base) != 1 else exponent.numerator % 2)
        return Fraction(exact)

    def _call(self, name: str, values: list[Fraction]) -> Fraction:
        if name in ("min", "max", "gcd") and values:
            whole = [value.numerator for value in values]
            if name == "gcd" and any(value.denominator != 1 for value in values):
                raise ValueError("gcd takes whole numbers")
            return {"min": min, "max": max}[name](values) if name != "gcd" else Fraction(math.gcd(*whole))
        if name == "round" and len(values) == 2 and values[1].denominator == 1 and abs(values[1]) <= 100:
            return Fraction(round(values[0], values[1].numerator))
        if len(values) != 1:
            raise ValueError(f"there is no {name} of {len(values)} numbers")
        (value,) = values
        if name == "sqrt":
            return _root(value, self._config)
        if name == "factorial":
            if value.denominator != 1 or not 0 <= value <= _FACTORIAL_MOST:
                raise ValueError(f"factorial takes whole numbers from 0 to {_FACTORIAL_MOST}")
            return Fraction(math.factorial(value.numerator))
        simple = {"abs": abs, "round": round, "floor": math.floor, "ceil": math.ceil}
        if name not in simple:
            raise ValueError(f"there is no function {name[:40]!r}")
        return type(value)(simple[name](value))  # type: ignore[operator]

    def _checked(self, value: Fraction) -> Fraction:
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > self._config.bits:
            raise ValueError(f"a number on the way has more than {self._config.bits} bits")
        return value


def _number(text: str, config: Config) -> Fraction:
    """The number as written: 0.1 is a tenth."""
    found = Decimal(text.replace("_", ""))
    if abs(found.adjusted()) > config.bits // 4:
        raise ValueError(f"{text[:40]} is too large or too small")
    return Fraction(found)


def _root(value: Fraction, config: Config) -> Fraction:
    if value < 0:
        raise ValueError("a negative number has no square root here")
    above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
    if above**2 == value.numerator and below**2 == value.denominator:
        return Fraction(above, below)
    with localcontext() as context:
        context.prec = config.digits + 10
        return Inexact((Decimal(value.numerator) / Decimal(value.denominator)).sqrt())


def _shown(value: Fraction, config: Config) -> str:
    exact = not isinstance(value, Inexact)
    if exact and value.denominator == 1:
        return str(value.numerator)
    with localcontext() as context:
        context.prec = config.digits
        decimal = Decimal(value.numerator) / Decimal(value.denominator)
        text = f"{decimal.normalize():f}" if abs(decimal.adjusted()) <= config.digits else str(decimal.normalize())
    if not exact:
        return f"about {text}"
    return text if Fraction(text) == value else f"{value.numerator}/{value.denominator} (about {text})"
