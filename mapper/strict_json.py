"""JSON from strangers, read in one way only: what two readers could understand differently is refused."""

from __future__ import annotations

import json
import math

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from typing import Any


LONGEST_INTEGER = 19  # more than any time or count has
DEEPEST = 8  # arrays and objects in one another; tokens and key sets use three


def parse_object(data: bytes, longest: int) -> dict[str, Any]:
    """``parse``, where only a JSON object will do."""
    value = parse(data, longest)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the text is wrong, not its type
    return value


def parse(data: bytes, longest: int) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON value (RFC 8259) that the UTF-8 ``data`` is; raises ValueError saying what is wrong.

    Refused are more than ``longest`` bytes, names that stand twice, NaN and infinities, integers of more than
    ``LONGEST_INTEGER`` digits, half characters (lone surrogates, which no text of UTF-8 holds), and more than
    ``DEEPEST`` levels.
    """
    if len(data) > longest:
        raise ValueError(f"it is larger than {longest} bytes")
    try:
        text = data.decode()
        value = json.loads(
            text,
            object_pairs_hook=_once_each,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
        if _depth(value) > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        if "\\u" in text:  # nothing else spells half a character
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half a character, a lone surrogate") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands in it twice")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is not JSON")


def _integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise ValueError(f"it holds an integer of more than {LONGEST_INTEGER} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("it holds a number that is too large")
    return number


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
