"""On what terms an account may be lent again, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.settings import Settings

HOUR = 3600 * 1_000_000  # µs


class Terms(NamedTuple):
    """All that releasing needs beyond ``SiteValues``.

    ``cooling``, ``answers`` (how old one may be) and ``idle`` are in µs; ``nodes`` are those that must answer,
    beside this machine; ``skeleton`` is empty where homes are not to be touched, ``quota`` says whether then the
    quota must show them empty; ``payloads`` is where the state files of payloads are.
    """

    cooling: int
    answers: int
    idle: int
    nodes: tuple[str, ...]
    locks: Path
    scratch: tuple[str, ...]
    skeleton: str
    slurm_programs: str
    slurm_spool: str
    quota: bool = False
    payloads: str = ""


def from_settings(settings: Settings) -> Terms:
    """The terms of site.yaml."""
    leases = settings.leases
    return Terms(
        cooling=leases.cooling_hours * HOUR,
        answers=leases.answer_hours * HOUR,
        idle=leases.idle_days * 24 * HOUR,
        nodes=leases.nodes,
        locks=settings.locks_directory,
        scratch=tuple(map(str, settings.scratch)),
        skeleton=str(leases.skeleton) if leases.homes == "rebuild" else "",
        slurm_programs=str(settings.slurm.programs),
        slurm_spool=settings.slurm.spool,
        quota=leases.homes == "quota",
        payloads=str(settings.payloads_directory),
    )
