"""Accounting logs of PBS: a line is read or put aside with a reason, and what was read fits a database."""

from __future__ import annotations

from gridwarden.accounting.batch_records import Job
from gridwarden.accounting.pbs_log import fields_of, parse

SEEDS = [
    b"""11/21/2026 20:55:07;E;0.pbshead;user=alice group=alice account="atlas prod" project=p jobname=hello queue=workq \
ctime=1795294490 qtime=1795294490 etime=1795294490 start=1795294490 exec_host=n1/0*2+n2/0 exec_vnode=(n1:ncpus=1) \
Resource_List.ncpus=1 session=588 end=1795294507 Exit_status=0 resources_used.cput=00:00:12 resources_used.mem=8696kb \
resources_used.ncpus=1 resources_used.walltime=00:00:16 run_count=1""",
    b"""11/21/2026 10:00:00;E;17.torque;user=a group=b account=my project jobname=STDIN queue=q ctime=1 start=2 end=3 \
owner=a@ce exec_host=n1/0+n1/1 total_execution_slots=2 resources_used.cput=29:30:01 resources_used.mem=2gb""",
    b"11/21/2026 20:55:48;a;1.pbshead;Job_Name='x \"y\"' Resource_List.walltime=00:01:00",
]


def one(data: bytes) -> None:
    line = data.partition(b"\n")[0].decode("utf-8", "surrogateescape")
    try:
        found = parse(line)
    except ValueError:
        return
    if isinstance(found, Job):
        assert found.account
        assert fields_of(found.fields)["user"] == found.account
        again = parse(f"{line.rstrip(' ')} unheard.of=1") if "unheard.of=" not in line else found
        assert again._replace(fields="") == found._replace(fields="")
        assert all(-(2**63) <= value < 2**63 for value in found if isinstance(value, int))
