"""A bar chart for a terminal.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.output import escape, width

if TYPE_CHECKING:
    from collections.abc import Sequence

EIGHTHS = " ▏▎▍▌▋▊▉█"
SHORTEST_BAR = 10


def draw(bars: Sequence[tuple[str, int, str]], columns: int, *, plain: bool = False) -> list[str]:
    """Return one line for each (label, value, value as text), not wider than ``columns`` where that can be.

    The longest bar belongs to the largest value; what is not above zero has none.  ``plain`` draws with
    characters that every encoding has.
    """
    labels = [escape(label) for label, _, _ in bars]
    value_width = max((width(text) for _, _, text in bars), default=0)
    room = max(columns - value_width - 4 - SHORTEST_BAR, 8)
    labels = [_shorten(label, min(room, max(map(width, labels)))) for label in labels]
    label_width = max(map(width, labels), default=0)
    bar_width = max(columns - label_width - value_width - 4, SHORTEST_BAR)
    largest = max((value for _, value, _ in bars), default=0)
    return [
        f"{_pad(label, label_width)}  {_pad(_bar(value, largest, bar_width, plain=plain), bar_width)}  {text:>{value_width}}"
        for label, (_, value, text) in zip(labels, bars, strict=True)
    ]


def _bar(value: int, largest: int, columns: int, *, plain: bool) -> str:
    if value <= 0 or largest <= 0:
        return ""
    eighths = max(1, value * columns * 8 // largest)
    if plain:
        return "#" * max(1, eighths // 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _shorten(text: str, columns: int) -> str:
    """Keep the end of a name: that is where a DN differs from its neighbours."""
    if width(text) <= columns:
        return text
    while width(text) > columns - 3:
        text = text[1:]
    return "..." + text


def _pad(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
