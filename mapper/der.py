"""DER, as much as an attribute certificate needs: strict, bounded by its input, and nothing guessed.

ITU-T X.690.  Long tags, indefinite lengths, lengths not in their shortest form and bytes left over are all
refused, so two different inputs never read as the same thing.
"""

from __future__ import annotations

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
GENERALIZED_TIME = 0x18
BOOLEAN = 0x01
SEQUENCE = 0x30
SET = 0x31


def context(number: int, *, constructed: bool = True) -> int:
    """The tag byte of ``[number]``."""
    return 0x80 | number | (0x20 if constructed else 0)


class Element:
    """One value: ``tag`` byte, ``value`` its contents, ``whole`` with tag and length."""

    __slots__ = ("tag", "value", "whole")

    def __init__(self, tag: int, value: bytes, whole: bytes) -> None:
        self.tag = tag
        self.value = value
        self.whole = whole

    def expect(self, tag: int) -> bytes:
        """The contents, if this is a ``tag``; else raises ValueError."""
        if self.tag != tag:
            raise ValueError(f"tag {self.tag:#04x} where {tag:#04x} should be")
        return self.value


def elements(data: bytes) -> list[Element]:
    """The values that ``data`` is made of, one after the other; raises ValueError."""
    found = []
    position = 0
    while position < len(data):
        start, end = _bounds(data, position)
        found.append(Element(data[position], data[start:end], data[position:end]))
        position = end
    return found


def only(data: bytes, tag: int) -> bytes:
    """The contents of the one ``tag`` value that ``data`` is; raises ValueError."""
    (element,) = elements(data)
    return element.expect(tag)


def sequence(data: bytes) -> list[Element]:
    """The members of the one SEQUENCE that ``data`` is; raises ValueError."""
    return elements(only(data, SEQUENCE))


def object_identifier(dotted: str) -> bytes:
    """The contents bytes of an OBJECT IDENTIFIER."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    encoded = bytearray()
    for number in (first * 40 + second, *rest):
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(number & 0x7F | 0x80)
        encoded += bytes(reversed(digits))
    return bytes(encoded)


def write(tag: int, *parts: bytes) -> bytes:
    """The value of a ``tag`` whose contents are ``parts``."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(size)]) + size + body


def write_integer(number: int) -> bytes:
    """An INTEGER, not negative."""
    return write(INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def write_object(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    return write(OBJECT_IDENTIFIER, object_identifier(dotted))


def _bounds(data: bytes, position: int) -> tuple[int, int]:
    """Where the contents of the value at ``position`` start and end."""
    if position + 2 > len(data) or data[position] & 0x1F == 0x1F:
        raise ValueError("a value is cut short or has a long tag")
    length = data[position + 1]
    start = position + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
        if not size or start > len(data) or length < 0x80 or length >> (8 * (size - 1)) == 0:
            raise ValueError("a length is not in its shortest form")
    if start + length > len(data):
        raise ValueError("a value is longer than what holds it")
    return start, start + length
