r"""Flat files of ``key<TAB>value`` lines: what hooks can read in microseconds and Lua without a library.

The node file, holder files and register entries are such files.  A key may stand in several lines.  In a
value, backslash, and every byte that is a control byte or not UTF-8, is written ``\xHH``, so that a name
chosen by an attacker cannot make a line.
"""

from __future__ import annotations

VERSION = "1"


def encode(pairs: list[tuple[str, str]]) -> bytes:
    """The file's bytes for ``pairs``, a version line first."""
    return "".join(f"{key}\t{escape(value)}\n" for key, value in [("version", VERSION), *pairs]).encode("ascii")


def decode(data: bytes) -> dict[str, list[str]]:
    """The values of each key in the order of the file; raises ValueError naming the line that is wrong."""
    values: dict[str, list[str]] = {}
    lines = data.decode("ascii").split("\n")
    if lines.pop() != "":
        raise ValueError("the last line is not whole")
    for line in lines:
        key, tab, value = line.partition("\t")
        if not tab or not key:
            raise ValueError(f"line {lines.index(line) + 1} is not key<TAB>value")
        if "\\" in value:
            value = unescape(value)
        if key in values:
            values[key].append(value)
        else:
            values[key] = [value]
    if values.pop("version", None) != [VERSION]:
        raise ValueError(f"it is not a file of version {VERSION}")
    return values


def escape(text: str) -> str:
    """``text`` in printable ASCII: other characters as the ``\\xHH`` of their UTF-8 bytes."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def unescape(text: str) -> str:
    """The inverse of ``escape``; raises ValueError at an escape that ``escape`` does not write."""
    first, *rest = text.split("\\")
    whole = bytearray(first, "ascii")
    for part in rest:
        if part[:1] != "x" or len(part) < 3:
            raise ValueError("a backslash is not followed by xHH")
        whole += bytes.fromhex(part[1:3])
        whole += part[3:].encode("ascii")
    return whole.decode("utf-8", "surrogateescape")
