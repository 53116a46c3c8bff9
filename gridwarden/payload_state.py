"""What is known of a payload while it runs, as values, and as the state file that has them (``gridwarden.payloads``)."""

from __future__ import annotations

from gridwarden import tab_file
from gridwarden.errors import ConfigurationError

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.records import Value

NUMBERS = (
    "start", "launcher", "launcher_start", "process", "process_start", "session", "uid", "gid", "pilot_uid",
    "restart", "scratch_device", "scratch_inode", "scratch_gid", "recorded", "status", "user", "system", "memory", "group_cpu",
)  # fmt: skip
FIGURES = ("status", "user", "system", "memory", "group_cpu")
TEXTS = (
    "payload", "cluster", "node", "boot", "account", "lease", "scheme", "subject", "vo", "credential", "also_scheme",
    "also_subject", "also_vo", "also_credential", "name", "pilot", "pilot_scheme", "pilot_subject", "pilot_vo", "batch",
    "job", "program", "cgroup", "proxy", "token", "temporary", "scratch", "measured", "because", "owed",
)  # fmt: skip
# What the files of payloads lack that were running when gridwarden was brought up to date.
LATER = ("also_scheme", "also_subject", "also_vo", "also_credential", "pilot_scheme", "pilot_vo", "owed")


class State:
    """One payload.

    ``payload`` is its id, 32 hexadecimal digits; ``name`` what its caller calls it.  ``launcher`` and ``process`` are
    pids, with their start times in clock ticks since boot; ``process`` is 0 before the payload was forked.  ``start``
    is in microseconds since the epoch.  ``also_scheme`` to ``also_credential`` are the further identity whose credential
    the pilot showed with the owner's.  ``pilot`` is the account that called, ``pilot_scheme`` to ``pilot_vo`` whom its own
    credential names, or ""; ``batch``, ``job`` and ``restart`` its batch job, "" and 0 where that is not known.
    ``cgroup`` is the directory of the payload's own control group, ``proxy`` and ``token`` are the copies it was
    given, ``temporary`` is its directory, ``scratch`` the directory that it was lent, with device, inode and the
    pilot's gid: each "", or 0, where there is none.

    Of a payload that has ended, and until that is on record: ``status`` as waitpid(2) gives it, ``user`` and
    ``system`` CPU and that of its control group, ``group_cpu``, in microseconds, ``memory``, the most it had at a
    time, in bytes; each -1 where nobody knows; ``measured``, how that was found out; and ``because``, who ended it,
    "" for itself.  ``recorded`` is when its end was put on record, in microseconds since the epoch, 0 before, 1 where there
    was none; ``owed`` why the directory that it was lent could not be given back yet, "" otherwise.
    """

    __slots__ = (*NUMBERS, *TEXTS)

    start: int
    launcher: int
    launcher_start: int
    process: int
    process_start: int
    session: int
    uid: int
    gid: int
    pilot_uid: int
    restart: int
    scratch_device: int
    scratch_inode: int
    scratch_gid: int
    recorded: int
    status: int
    user: int
    system: int
    memory: int
    group_cpu: int
    payload: str
    cluster: str
    node: str
    boot: str
    account: str
    lease: str
    scheme: str
    subject: str
    vo: str
    credential: str
    also_scheme: str
    also_subject: str
    also_vo: str
    also_credential: str
    name: str
    pilot: str
    pilot_scheme: str
    pilot_subject: str
    pilot_vo: str
    batch: str
    job: str
    program: str
    cgroup: str
    proxy: str
    token: str
    temporary: str
    scratch: str
    measured: str
    because: str
    owed: str

    def __init__(self, **values: str | int) -> None:
        """What is not given is 0 or "", a figure -1; raises AttributeError for what is not declared."""
        for name in NUMBERS:
            setattr(self, name, values.pop(name, -1 if name in FIGURES else 0))
        for name in TEXTS:
            setattr(self, name, values.pop(name, ""))
        for name in values:
            raise AttributeError(f"a payload has no {name}")

    def but(self, **changes: str | int) -> State:
        """The same with some values changed."""
        return State(**{name: getattr(self, name) for name in self.__slots__} | changes)

    def pairs(self) -> list[tuple[str, str]]:
        """The lines of the state file."""
        return [(name, str(getattr(self, name))) for name in (*TEXTS, *NUMBERS)]

    def facts(self, *names: str) -> dict[str, Value]:
        """Some of the values, as fields of a record."""
        return {name: getattr(self, name) for name in names}


def parse(data: bytes, path: str) -> State:
    """The state in the bytes of a file; raises ConfigurationError."""
    try:
        values = dict.fromkeys(LATER, "") | {key: value for key, (value,) in tab_file.decode(data).items()}
        numbers = {name: int(values[name]) for name in NUMBERS}
        return State(**{name: values[name] for name in TEXTS}, **numbers)
    except (ValueError, KeyError) as error:
        raise ConfigurationError(f"{path}: is not the state of a payload: {error}") from error
