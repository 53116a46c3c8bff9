"""Which processes of an account a killed launcher has left behind, so that nobody else's are taken for them."""

from __future__ import annotations

import time

from gridwarden import payloads
from gridwarden.errors import Unavailable
from gridwarden.prune import reasons, snapshot
from gridwarden.prune.judge import Tree, Verdict, of_jobs
from gridwarden.prune.lent import Lent, LentTo
from gridwarden.prune.machine import ASK_SECONDS, Machine
from gridwarden.prune.signals import Uids, key

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden import proc
    from gridwarden.batch.evidence import Answer
    from gridwarden.payload_state import State
    from gridwarden.prune.signals import Key
    from gridwarden.prune.snapshot import Snapshot

    Site = dict[str, list[str]]
    Reasons = dict[int, tuple[str, str]]


class Orphans:
    """Judge what runs as a payload's account.  Raises Unavailable while a batch system cannot say what runs here.

    What another launcher, or a job of the account's own, accounts for is theirs.  Of the rest the payload's is what
    descends from its process, or is in the pilot's session or in a job of somebody else, where only a launcher can have
    put it; and what the pruner would call a stray.  A payload that ran as the pilot itself has but its own process's
    descendants: all else may be the pilot's.
    """

    def __init__(self, site: Site, state: State) -> None:
        self._state = state
        self._uids = Uids(state.uid, LentTo(Lent(), state.account, state.uid))
        self._machine = Machine(site, 0.0)
        self._answers: list[Answer] = []
        self._known: set[Key] = set()

    def __call__(self) -> list[Verdict]:
        """The verdicts of this moment; batch systems are asked again only about processes not seen before."""
        seen = snapshot.take(lambda uid: self._state.account if uid in self._uids else "")
        processes = [one.process for one in seen.seen.values() if self._is_its(one.process)]
        if not self._known.issuperset(map(key, processes)):
            self._answers = self._ask()
            self._known |= set(map(key, processes))
        found = self._reasons(seen, processes) if processes else {}
        nobodys = (reasons.OUTSIDER, "")
        return [Verdict(one, self._state.account, self._state.uid, *found.get(one.pid, nobodys)) for one in processes]

    def _reasons(self, seen: Snapshot, processes: list[proc.Process]) -> Reasons:
        state, tree = self._state, Tree(seen.seen)
        itself = (reasons.LEFT_ITS_JOB, f"{payloads.BATCH} {state.payload}")
        # Since we hold its lock, it looks as if it had a launcher.
        name = (payloads.BATCH, state.payload)
        jobs = [job for one in self._answers for job in one.jobs if (job.batch, job.job) != name]
        found: Reasons = {}
        if state.uid != state.pilot_uid:
            if self._machine.rules.whose(state.uid):
                judged = self._machine.judge(seen, self._answers).verdicts
                found |= {one.process.pid: (one.reason, one.job) for one in judged}
            others = of_jobs(seen, tree, [job for job in jobs if job.owner not in (state.uid, None)])
            of_session = {one.pid for one in processes if one.session == state.session}
            found |= dict.fromkeys(others.keys() | of_session, itself)
        root = seen.seen.get(state.process)
        if root and root.process.start == state.process_start:
            found |= dict.fromkeys(tree.below([state.process]), itself)
        return found | of_jobs(seen, tree, [job for job in jobs if job.owner in (state.uid, None)])

    def _is_its(self, process: proc.Process) -> bool:
        return process.real_uid in self._uids and not process.has_ended()

    def _ask(self) -> list[Answer]:
        self._machine.deadline = time.monotonic() + ASK_SECONDS
        answers = self._machine.ask()
        for answer in answers:
            if why := answer.unknown or answer.doubted.get(self._state.uid):
                raise Unavailable(f"it cannot be told what of {self._state.account} belongs to a job: {why}")
        return answers
