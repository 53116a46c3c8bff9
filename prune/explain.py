"""Why one process would live or die: every fact that the judge uses about it, in the order of its lineage."""

from __future__ import annotations

from gridwarden import proc, tab_file
from gridwarden.errors import BadQuestion
from gridwarden.prune import holds, reasons
from gridwarden.prune.judge import judge
from gridwarden.prune.snapshot import parent_of

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.batch.evidence import Answer
    from gridwarden.prune.machine import Site
    from gridwarden.prune.rules import Rules
    from gridwarden.prune.snapshot import Seen, Snapshot


def explain(
    pid: int, snapshot: Snapshot, answers: list[Answer], rules: Rules, site: Site | None = None
) -> list[tuple[str, str]]:
    """Pairs of what a fact is about and the fact, printable ASCII; raises BadQuestion when there is no such process.

    ``process``, ``control group``, ``session leader``, ``parent`` (one an ancestor, nearest first),
    ``batch system`` (one an answer), ``verdict``, and ``next run``: what ``site`` does with a stray.
    """
    verdict = next((verdict for verdict in judge(snapshot, answers, rules) if verdict.process.pid == pid), None)
    if verdict is None:
        return [("verdict", _not_judged(pid))]
    one = snapshot.seen[pid]
    facts = [("process", f"{_describe(one, rules)}, account {verdict.account}")]
    facts += [("control group", tab_file.escape(path)) for path in one.cgroups]
    leader = snapshot.seen.get(one.process.session)
    facts.append(("session leader", _describe(leader, rules) if leader else f"{one.process.session}, which has ended"))
    ancestor = one
    while parent := parent_of(ancestor, snapshot.seen):
        facts.append(("parent", _describe(parent, rules)))
        ancestor = parent
    if ancestor.process.parent:
        facts.append(("parent", f"{ancestor.process.parent}, which ended while it was read"))
    facts += [("batch system", _say(answer, verdict.owner)) for answer in answers]
    fate = "stray" if verdict.stray else "spared"
    job = f" ({tab_file.escape(verdict.job)})" if verdict.job else ""
    facts.append(("verdict", f"{fate}, {verdict.reason}: {reasons.SENTENCES[verdict.reason]}{job}"))
    if verdict.stray and site is not None:
        facts.append(("next run", _fate(verdict.account, answers, site)))
    return facts


def _fate(account: str, answers: list[Answer], site: Site) -> str:
    if any(answer.unknown for answer in answers):
        return "nothing is killed as long as a batch system does not answer"
    hold = tab_file.escape(holds.why_held(site, account))
    on_hold = f"stops it and keeps it, since its account is on hold: {hold}" if hold else ""
    if site.get("prune_kill") != ["yes"]:
        return f"only reports it, since prune.kill is off; else it {on_hold or 'kills it'}"
    return on_hold or "kills it"


def _not_judged(pid: int) -> str:
    process = proc.read(pid)
    if process is None:
        raise BadQuestion(f"there is no process {pid} here", "whoran PID may know it, if it ran here")
    if process.has_ended():
        return f"process {pid} has ended and waits for its parent {process.parent}"
    name = tab_file.escape(process.command)
    uid = f"uid {process.real_uid}, {'root' if process.real_uid == 0 else 'neither of the pools nor of prune.uids'}"
    return f"never touched: process {pid} ({name}) is run by {uid}"


def _describe(one: Seen, rules: Rules) -> str:
    process = one.process
    path = one.executable.removesuffix(" (deleted)")
    daemon = ", a batch daemon" if process.real_uid == 0 and path in rules.daemons else ""
    return (
        f"{process.pid} ({tab_file.escape(process.command)}), real uid {process.real_uid}, effective uid "
        f"{process.effective_uid}, start {process.start}, executes {tab_file.escape(one.executable) or '?'}{daemon}"
    )


def _say(answer: Answer, uid: int) -> str:
    if answer.unknown:
        return f"{answer.batch}: unknown: {tab_file.escape(answer.unknown)}"
    if uid in answer.doubted:
        return f"{answer.batch}: in doubt about this account: {tab_file.escape(answer.doubted[uid])}"
    own = [tab_file.escape(job.job) for job in answer.jobs if job.owner == uid]
    return f"{answer.batch}: {len(answer.jobs)} jobs here, of this account: {', '.join(own) or 'none'}"
