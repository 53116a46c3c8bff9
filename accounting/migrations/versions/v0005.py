"""Processes that have ended, of process accounting and exit statistics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

Name = sa.String(128)
VIEW = """
CREATE VIEW processes_v1 AS SELECT
    node, pid, parent, uid, gid, account, command, start AS started, "end" AS ended, status, user_cpu, system_cpu, cpu,
    exact, threads, boot, batch, cluster, job
FROM processes
"""


def upgrade() -> None:
    """Make the table and its view."""
    op.create_table(
        "processes",
        sa.Column("node", Name, primary_key=True),
        *(sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False) for name in ("pid", "start", "end")),
        sa.Column("exact", sa.BigInteger, primary_key=True, autoincrement=False, server_default="0"),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("parent", "uid", "gid")),
        sa.Column("command", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("user_cpu", "system_cpu", "status")),
        sa.Column("cpu", sa.BigInteger),
        sa.Column("threads", sa.BigInteger),
        *(sa.Column(name, sa.Text, nullable=False, server_default="") for name in ("boot", "account")),
        *(sa.Column(name, Name, nullable=False, server_default="") for name in ("batch", "cluster", "job")),
        sa.Column("known_by", sa.Text, nullable=False, server_default=""),
        sqlite_with_rowid=False,
    )
    op.create_index("processes_by_parent", "processes", ["node", "parent"])
    op.execute("CREATE INDEX processes_by_job ON processes (job, batch) WHERE job <> ''")
    op.execute(VIEW)
