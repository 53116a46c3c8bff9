"""Lead from a pid to its job by what processes of the job told the agent: where the kernel kept no record of the process.

The agent's record says which process it saw below the job's starter, and when; nobody else's word is in that.  It does
not say when the process ended, and the pid may be another's since: no more than a note.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gridwarden.accounting import answers, evidence
from gridwarden.accounting.job_names import of_node
from gridwarden.accounting.job_runs import number, text
from gridwarden.accounting.past_process import this_node
from gridwarden.accounting.process_records import BLUR
from gridwarden.accounting.question import Question
from gridwarden.proc import MICROSECONDS_A_TICK
from gridwarden.times import Range

if TYPE_CHECKING:
    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.job_runs import Body, Run
    from gridwarden.accounting.past import Past

_OF_PID = "SELECT body FROM records WHERE body IS NOT NULL AND kind = 'noted' AND pid = :pid"


def of_pid(question: Question, past: Past) -> list[Answer]:
    """Answer for the processes of the question's pid that spoke of themselves, of this machine where it names none."""
    since, until = question.within or (0, past.FOREVER)
    found: dict[tuple[str, str, int], Answer] = {}
    for body in _noted(question.pid or 0, past):
        node = text(body, "node")
        if question.node is None and node.partition(".")[0] != this_node():
            continue
        run = _run_of(body, past)
        started = (
            number(body, "time") - number(body, "clock") // 1000 + number(body, "process_start") * MICROSECONDS_A_TICK
        )
        if run is None or started - BLUR >= until or (run.end is not None and run.end + BLUR < since):
            continue
        answer = answers.NOTHING._replace(
            account=run.account, node=node, cluster=run.cluster, batch=run.batch, job=run.job, pid=question.pid,
            since=started, until=run.end,
        )  # fmt: skip
        because = "the agent saw it in the job, whose holder a hook verified; no record says when it ended, at the latest with the job"
        named = answers.named(answer, run, evidence.DECLARED, because)
        found.setdefault((node, text(body, "boot"), number(body, "process_start")), named)
    return list(found.values())


def _noted(pid: int, past: Past) -> list[Body]:
    stored = [json.loads(str(body)) for (body,) in past.rows(_OF_PID, {"pid": pid})]
    return [*stored, *(body for body in past.of_kinds("noted") if body.get("pid") == pid)]


def _run_of(body: Body, past: Past) -> Run | None:
    """Return the run of the job that the record names, which lasted then; None where no hook knew who was behind it."""
    then = Question(None, Range(number(body, "time"), number(body, "time") + 1), account=text(body, "account"))
    batch, _, job = of_node(text(body, "batch"), "", text(body, "job"))
    wanted = (
        batch,
        job,
        number(body, "restart"),
        text(body, "account"),
        text(body, "lease"),
    )
    runs = (
        run
        for run in past.runs(then)
        if run.subject and (run.batch, run.job, run.restart, run.account, run.lease) == wanted
    )
    return next(runs, None)
