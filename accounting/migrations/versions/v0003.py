"""What goes for its age, and the views that other tools may rely on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

VIEWS = """
CREATE VIEW jobs_v1 AS SELECT
    batch, cluster, job, submit AS submitted, restart, account, "start" AS started, "end" AS ended, state, exit_code,
    user_cpu, system_cpu, total_cpu, nodes, queue, project, submit_host, vo, fqan, cores, wall, memory
FROM batch_jobs;
CREATE VIEW runs_v1 AS SELECT
    batch, cluster, node, job, restart, account, scheme, subject, vo, lease, "start" AS started, "end" AS ended,
    ended_by, evidence
FROM job_runs;
CREATE VIEW records_v1 AS SELECT
    ledger, seq, kind, time, node, cluster, account, lease, pid, body
FROM records;
CREATE VIEW faults_v1 AS SELECT source, place, fault, seen FROM faults
"""


def upgrade() -> None:
    """Make room for what expiry leaves behind, and make the views."""
    op.add_column("records", sa.Column("altered", sa.BigInteger))
    op.create_table(
        "anchors",
        sa.Column("ledger", sa.String(128), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    for view in VIEWS.split(";"):
        op.execute(view)
