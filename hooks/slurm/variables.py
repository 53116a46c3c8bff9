"""What Slurm's variables say of a job: the same in every hook that it calls, checked before anything is made of it.

https://slurm.schedmd.com/prolog_epilog.html has a table of which hook is given which.  ``SLURM_JOB_EXTRA``, which has the
stamp, came to Prolog and Epilog with 24.05; 22.05 gives it to none.
"""

from __future__ import annotations

from gridwarden.errors import ConfigurationError
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

LEASE_ID_LENGTH = 32
HEX = frozenset("0123456789abcdef")
NAME_BYTES = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def is_name(value: str) -> bool:
    """Whether a pool account, a fixed account or a node may be called so; other users are nobody of ours."""
    return value != "" and value[0] not in ".-" and NAME_BYTES.issuperset(value)


def name(environment: Mapping[str, str], variable: str) -> str:
    """An account or a node; raises ConfigurationError for what none is called."""
    value = environment.get(variable, "")
    if not is_name(value):
        raise ConfigurationError(f"{variable}: {escape(value)!r} is not a name")
    return value


def number(environment: Mapping[str, str], variable: str, default: str = "") -> int:
    """A number that is not negative; raises ConfigurationError for what Slurm would not write."""
    value = environment.get(variable, default)
    if not (value.isascii() and value.isdigit()):
        raise ConfigurationError(f"{variable}: {escape(value)!r} is not a number")
    return int(value)


def stamp(environment: Mapping[str, str]) -> str:
    """The lease id that the job carries, a claim; "" where it carries none."""
    value = environment.get("SLURM_JOB_EXTRA", "")
    return value if len(value) == LEASE_ID_LENGTH and HEX.issuperset(value) else ""
