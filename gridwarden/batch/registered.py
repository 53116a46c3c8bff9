"""The local register as an answer beside those of the batch systems: hooks enter a job before it starts.

It says whose a job is, not what its processes are: that is for the job's batch system to say.
"""

from __future__ import annotations

import os

from gridwarden import ledger, register
from gridwarden.batch import question
from gridwarden.batch.evidence import Answer, LiveJob

NAME = "register"


def jobs_here(site: dict[str, list[str]], seconds: float) -> Answer:
    """The jobs that hooks have started here and not ended."""
    return question.answer(NAME, lambda _: Answer(NAME, _look(site["register"][0])), seconds)


def _look(directory: str) -> list[LiveJob]:
    """Raises ConfigurationError for an entry that is not whole, OSError."""
    os.stat(directory)  # without it nobody knows what runs; an empty one says that nothing does
    boot = ledger.boot_id()
    return [
        LiveJob(
            batch=entry.batch,
            job=entry.job,
            node=entry.node,
            owner=entry.uid,
            roots={},
            sessions=frozenset(),
            cgroups=(),
        )
        for entry in register.everything(directory)
        if entry.boot == boot
    ]
