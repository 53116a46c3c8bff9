"""What a batch system must be able to do for the scenario table to run on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

WAITING, HELD, RUNNING, SUSPENDED = "waiting", "held", "running", "suspended"
COMPLETED, FAILED, CANCELLED, LOST = "completed", "failed", "cancelled", "lost with its node"
ENDED = frozenset({COMPLETED, FAILED, CANCELLED, LOST})
USABLE, DRAINED = "usable", "drained"


class Shape(NamedTuple):
    """What a job asks for; ``node`` is one that it must have, ``tasks`` makes it an array, ``held`` lets it wait."""

    nodes: int = 1
    node: str = ""
    tasks: int = 0
    held: bool = False
    requeue: bool = True


class BatchSystem(Protocol):
    """The adapter: each method is one step of a row.  Jobs are named as the user sees them."""

    name: str  # in gridwarden's records
    nodes: tuple[str, str]
    has_stamps: bool

    def submit(self, proxy: Path, script: str, shape: Shape) -> str:
        """As a CE does, for the owner of a proxy; raises RefusedError."""

    def submit_as(self, account: str, script: str, shape: Shape) -> str:
        """As a user of the machine does; raises RefusedError."""

    def release(self, job: str) -> None: ...
    def cancel(self, job: str) -> None: ...
    def suspend(self, job: str) -> None: ...
    def resume(self, job: str) -> None: ...
    def requeue(self, job: str) -> None: ...

    def run_again(self, job: str) -> None:
        """Have a job that was put back run at once: Slurm would have it wait two minutes."""

    def run_again_unjudged(self, job: str) -> None:
        """The same on the first node, and no prolog runs before it."""

    def states(self, job: str) -> list[str]:
        """A word of this module for the job, or for each task of an array."""

    def numbers(self, job: str) -> list[str]:
        """What hooks and accounting call the job, or each task of an array."""

    def wait_accounted(self, jobs: list[str]) -> None:
        """Until the batch system's own accounting has the end of each."""

    def change_stamp(self, job: str, account: str) -> list[str]:
        """Try, as the job's user, all that could change the stamp; what was said to each try that was refused."""

    def stamp(self, job: str) -> str:
        """The lease id that the job carries, "" for none."""

    def node_state(self, node: str) -> str:
        """USABLE or DRAINED."""

    def use_again(self, node: str) -> None:
        """What an administrator does about a drained node."""

    def restart_controller(self) -> None:
        """Killed, and started again."""

    def restart_daemon(self, node: str) -> None:
        """The node's daemon alone is killed, and started again."""

    def lose(self, node: str) -> None:
        """Everything of the batch system's on the node ends at once, and the controller notices."""

    def regain(self, node: str) -> None:
        """The node is back, as after its boot."""

    def crowd(self) -> AbstractContextManager[None]:
        """Many jobs that do next to nothing fit at once."""

    def choosing(self, **values: str) -> AbstractContextManager[None]:
        """Other values in the node file; ``on_prolog_failure`` and ``on_epilog_failure`` among the names."""


class RefusedError(Exception):
    """A submission was refused; the message is what its user was told."""
