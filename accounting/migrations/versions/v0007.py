"""Processes by month on PostgreSQL, and indexes for what goes for its age."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

BEGIN, OF_MONTH = 2015 * 12, "processes_{:04}_{:02}"
BY_MONTH = """
ALTER TABLE processes RENAME TO processes_other;
ALTER TABLE processes_other RENAME CONSTRAINT processes_pkey TO processes_other_pkey;
ALTER INDEX processes_by_parent RENAME TO processes_other_by_parent;
ALTER INDEX processes_by_job RENAME TO processes_other_by_job;
CREATE TABLE processes (LIKE processes_other INCLUDING DEFAULTS) PARTITION BY RANGE ("end");
ALTER TABLE processes ADD PRIMARY KEY (node, pid, start, "end", exact);
CREATE INDEX processes_by_parent ON processes (node, parent);
CREATE INDEX processes_by_job ON processes (job, batch) WHERE job <> '';
ALTER TABLE processes ATTACH PARTITION processes_other DEFAULT;
CREATE OR REPLACE VIEW processes_v1 AS SELECT
    node, pid, parent, uid, gid, account, command, start AS started, "end" AS ended, status, user_cpu, system_cpu, cpu,
    exact, threads, boot, batch, cluster, job
FROM processes
"""
MOVE = """
CREATE TABLE {name} (LIKE processes INCLUDING ALL);
WITH moved AS (DELETE FROM processes_other WHERE "end" >= {begin} AND "end" < {end} RETURNING *)
    INSERT INTO {name} SELECT * FROM moved;
ALTER TABLE processes ATTACH PARTITION {name} FOR VALUES FROM ({begin}) TO ({end})
"""
GRANTS = """
SELECT grantee, privilege_type FROM information_schema.role_table_grants
WHERE table_schema = current_schema() AND table_name = 'processes' AND grantee <> current_user
"""


def upgrade() -> None:
    """Keep processes by month where the database can, and make the indexes."""
    if op.get_context().dialect.name == "postgresql":
        _by_month()
    op.execute('CREATE INDEX processes_by_end ON processes ("end")')
    op.create_index("heads_by_time", "heads", ["time"])
    # Of the runs of a ledger only those without end are looked for, and each that ends would be put elsewhere.
    op.drop_index("job_runs_open", "job_runs")
    op.execute('CREATE INDEX job_runs_open ON job_runs (ledger) WHERE "end" IS NULL')


def _by_month() -> None:
    connection = op.get_bind()
    quote = connection.dialect.identifier_preparer.quote
    granted = connection.execute(sa.text(GRANTS)).all()
    for statement in BY_MONTH.split(";"):
        op.execute(statement)
    for grantee, privilege in granted:  # whoever read the table before reads it now
        op.execute(f"GRANT {privilege} ON processes TO {grantee if grantee == 'PUBLIC' else quote(grantee)}")
    today = datetime.fromtimestamp(time.time(), UTC)
    for month in range(BEGIN, today.year * 12 + today.month):
        begin, end = _instant(month), _instant(month + 1)
        within = f'SELECT 1 FROM processes_other WHERE "end" >= {begin} AND "end" < {end} LIMIT 1'  # noqa: S608  integers
        if connection.scalar(sa.text(within)):
            name = OF_MONTH.format(month // 12, month % 12 + 1)
            for statement in MOVE.format(name=name, begin=begin, end=end).split(";"):
                op.execute(statement)


def _instant(month: int) -> int:
    """Return when a month begins, which is counted from the year 0, in microseconds since the epoch."""
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
