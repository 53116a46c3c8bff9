"""The payloads whose launchers live, as an answer beside those of the batch systems.

The launcher is root's, and everything that the payload starts descends from it, whatever it does: who loses its parent
becomes a child of the launcher or of its guard (PR_SET_CHILD_SUBREAPER of prctl(2)).
"""

from __future__ import annotations

from gridwarden import payloads
from gridwarden.batch import question
from gridwarden.batch.evidence import Answer, LiveJob

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.payload_state import State

NAME = payloads.BATCH


def jobs_here(site: dict[str, list[str]], seconds: float) -> Answer:
    """The payloads that are led here; those whose launcher was killed are none any more."""
    directory = site.get("payloads", [""])[0]
    return question.answer(NAME, lambda _: Answer(NAME, _look(directory) if directory else []), seconds)


def _look(directory: str) -> list[LiveJob]:
    """Raises ConfigurationError for a state file that is not whole, OSError."""
    states = payloads.everything(directory)
    return [_live_job(state) for state in states if payloads.is_led(directory, state.payload)]


def _live_job(state: State) -> LiveJob:
    return LiveJob(
        batch=NAME,
        job=state.payload,
        node=state.node,
        owner=state.uid,
        roots={state.launcher: state.launcher_start, state.process: state.process_start},
        sessions=frozenset(),
        cgroups=(),
    )
