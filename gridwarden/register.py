"""The local register: the jobs that hooks of this machine have started and not ended, and account locks.

One file a job, ``ACCOUNT/BATCH.CLUSTER.NODE.JOB``, on tmpfs: after a reboot no job runs and none is listed.
Several node daemons on one machine share it, since they share its processes.
"""

from __future__ import annotations

import os

from gridwarden import locks, tab_file, trusted
from gridwarden.errors import ConfigurationError, Unavailable

FIELDS = ("batch", "cluster", "node", "job", "restart", "account", "uid", "lease", "start", "boot")


class Entry:
    """A running job.  ``start`` is in microseconds since the epoch; ``job`` is the batch system's own id."""

    __slots__ = FIELDS

    def __init__(  # noqa: PLR0913 - one argument a field of the file
        self,
        *,
        batch: str,
        cluster: str,
        node: str,
        job: str,
        restart: int,
        account: str,
        uid: int,
        lease: str,
        start: int,
        boot: str,
    ) -> None:
        self.batch = batch
        self.cluster = cluster
        self.node = node
        self.job = job
        self.restart = restart
        self.account = account
        self.uid = uid
        self.lease = lease
        self.start = start
        self.boot = boot

    def file_name(self) -> str:
        """The entry's name below the directory of its account."""
        return file_name(self.batch, self.cluster, self.node, self.job)


def file_name(batch: str, cluster: str, node: str, job: str) -> str:
    """The name of a job's entry; raises ConfigurationError for parts that cannot be in a file name."""
    name = f"{batch}.{cluster}.{node}.{job}"
    if "/" in name or "\0" in name or len(name.encode()) > 255:
        raise ConfigurationError(f"{tab_file.escape(name)}: cannot name an entry of the local register")
    return name


def enter(directory: str | os.PathLike[str], entry: Entry) -> None:
    """Enter a job, over an entry of the same name (a requeued job); raises OSError, ConfigurationError."""
    account = os.path.join(directory, entry.account)
    try:
        os.mkdir(account, 0o700)
    except FileExistsError:
        pass
    pairs = [(field, str(getattr(entry, field))) for field in FIELDS]
    trusted.replace_file(os.path.join(account, entry.file_name()), tab_file.encode(pairs), 0o600)


def leave(directory: str | os.PathLike[str], account: str, name: str) -> Entry | None:
    """Take the entry ``name`` of ``account`` out and return it; None when it was not there."""
    entry = next((entry for entry in jobs_of(directory, account) if entry.file_name() == name), None)
    if entry:
        os.unlink(os.path.join(directory, account, name))
    return entry


def names_of(directory: str | os.PathLike[str], account: str) -> list[str]:
    """The names of the entries of ``account``, whole or not."""
    try:
        return sorted(name for name in os.listdir(os.path.join(directory, account)) if not name.startswith("."))
    except FileNotFoundError:
        return []


def jobs_of(directory: str | os.PathLike[str], account: str) -> list[Entry]:
    """The jobs of ``account`` on this machine; raises ConfigurationError for an entry that is not whole."""
    return [_read(os.path.join(directory, account, name)) for name in names_of(directory, account)]


def everything(directory: str | os.PathLike[str]) -> list[Entry]:
    """All jobs on this machine, by account."""
    try:
        accounts = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    return [entry for account in accounts for entry in jobs_of(directory, account)]


class AccountLock:
    """The lock under which prolog, epilog and pruner decide and act on one account (``with`` statement).

    ``seconds`` bounds the wait; Unavailable is raised at its end.  The file is never removed: a lock on a
    file that another process has replaced would guard nothing.
    """

    def __init__(self, directory: str | os.PathLike[str], account: str, seconds: float) -> None:
        self._directory = directory
        self._account = account
        self._seconds = seconds
        self._descriptor = -1

    def __enter__(self) -> AccountLock:  # noqa: PYI034  typing.Self costs a hook 6 ms
        directory = trusted.open_directory(self._directory)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._account, flags, 0o600, dir_fd=directory)
        except OSError as error:
            raise Unavailable(f"{self._directory}/{self._account}: cannot be locked: {error.strerror}") from error
        finally:
            os.close(directory)
        try:
            locks.take(self._descriptor, f"{self._directory}/{self._account}", self._seconds)
        except OSError as error:
            os.close(self._descriptor)
            raise Unavailable(f"{self._directory}/{self._account}: cannot be locked: {error.strerror}") from error
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _read(path: str) -> Entry:
    try:
        values = {key: value for key, (value,) in tab_file.decode(trusted.read_file(path)).items()}
        return Entry(
            batch=values["batch"],
            cluster=values["cluster"],
            node=values["node"],
            job=values["job"],
            restart=int(values["restart"]),
            account=values["account"],
            uid=int(values["uid"]),
            lease=values["lease"],
            start=int(values["start"]),
            boot=values["boot"],
        )
    except (ValueError, KeyError) as error:
        raise ConfigurationError(f"{path}: is not an entry of the local register: {error}") from error
