"""Names of environment variables, and those that no pilot may choose for a payload, which is somebody else.  Pure."""

from __future__ import annotations

NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
# What the dynamic linker, interpreters and shells run or load before a program's own first instruction.
OBEYED_PREFIXES = (
    b"LD_", b"PYTHON", b"PERL", b"RUBY", b"BASH_", b"GCONV_PATH", b"GLIBC_", b"MALLOC_", b"LOCPATH", b"NLSPATH",
)  # fmt: skip
OBEYED = frozenset([b"ENV", b"IFS", b"SHELLOPTS", b"PS4"])


def is_name(name: bytes) -> bool:
    """Whether it is the name of a variable as POSIX has it."""
    return bool(name) and not name[:1].isdigit() and NAME_BYTES.issuperset(name)


def is_obeyed(name: bytes) -> bool:
    """Whether it would let the pilot run its own code as the payload's owner."""
    return name in OBEYED or name.startswith(OBEYED_PREFIXES)
