"""Ads of HTCondor's as its files have them: lines of ``Attribute = expression``.  Pure.

Literals alone are understood, and nothing is evaluated: whoever owns a job can write any expression into its ad.
"""

from __future__ import annotations

import re

from gridwarden.times import MICROSECONDS

_ATTRIBUTE = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*) ?= ?(.*)", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,15}", re.ASCII)
_REAL = re.compile(r"-?\d{1,15}(?:\.\d*)?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_STRING = re.compile(r'"((?:[^"\\]|\\"|\\)*)"', re.ASCII)  # a double quote alone is escaped, not a backslash

Value = int | float | str | bool | None


def value_of(expression: str) -> Value:
    """Return what a literal says; None for ``undefined``, and for whatever would have to be evaluated."""
    if _INTEGER.fullmatch(expression):
        return int(expression)
    if _REAL.fullmatch(expression):
        return float(expression)
    if match := _STRING.fullmatch(expression):
        return match[1].replace('\\"', '"')
    return {"true": True, "false": False}.get(expression.lower())


class Ad:
    """The attributes of an ad, whose names are the same in any case."""

    def __init__(self, expressions: dict[str, str]) -> None:
        self._expressions = expressions

    def text(self, *names: str) -> str:
        """The first of the attributes that is text, or empty."""
        for name in names:
            if isinstance(value := self._value(name), str) and value:
                return value
        return ""

    def number(self, *names: str) -> int | None:
        """The first of the attributes that is a number, whole."""
        value = self.amount(*names)
        return None if value is None else int(value)

    def amount(self, *names: str) -> float | None:
        """The first of the attributes that is a number, not negative."""
        for name in names:
            value = self._value(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                return value
        return None

    def is_true(self, name: str) -> bool:
        """Whether the attribute is true."""
        return self._value(name) is True

    def instant(self, *names: str) -> int | None:
        """The first of the attributes that is a time, in microseconds; 0 and -1 stand for none."""
        for name in names:
            if seconds := self.number(name):
                return seconds * MICROSECONDS
        return None

    def _value(self, name: str) -> Value:
        expression = self._expressions.get(name.lower())
        return None if expression is None else value_of(expression)


def read(lines: list[str]) -> Ad:
    """Read an ad's lines; raises ValueError for one that is none."""
    expressions = {}
    for line in lines:
        match = _ATTRIBUTE.fullmatch(line)
        if match is None:
            raise ValueError(f"{line[:80]!r} is not ATTRIBUTE = EXPRESSION")
        expressions[match[1].lower()] = match[2]
    return Ad(expressions)
