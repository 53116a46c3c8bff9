"""Jobs under the names that their batch systems' own accounting has for them, whatever the nodes call them.  Pure.

A starter of HTCondor's knows its job by the GlobalJobId, SCHEDD#CLUSTER.PROC#TIME, and a mom of PBS's or Torque's as
NUMBER.SERVER; histories and accounting logs have number and schedd, or server, apart.  Slurm's have one name everywhere.
"""

from __future__ import annotations

import re

from gridwarden.accounting.batch_records import HTCONDOR, PBS

_GLOBAL_ID = re.compile(r"([^#]+)#(\d+\.\d+)#\d*", re.ASCII)  # a node leaves the time out where the owner changed it
_WITH_SERVER = re.compile(r"(\d+(?:\[\d*\])?)\.(?=\S*[^\s\d.])(\S+)", re.ASCII)


def of_node(batch: str, cluster: str, job: str) -> tuple[str, str, str]:
    """Return batch system, cluster and number of a job that a record of a node names; what is no such name stays."""
    if batch == HTCONDOR and (found := _GLOBAL_ID.fullmatch(job)):
        return HTCONDOR, found[1], found[2]
    if batch in (PBS, "torque") and (found := _WITH_SERVER.fullmatch(job)):
        return PBS, found[2], found[1]
    return batch, cluster, job


def number(job: str) -> str:
    """Return the number of a job that is named in any of these ways."""
    if found := _GLOBAL_ID.fullmatch(job):
        return found[2]
    found = _WITH_SERVER.fullmatch(job)
    return found[1] if found else job
