"""The ledgers of nodes, the batch systems' own records, and how far each was collected."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Name = sa.String(128)


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "positions",
        sa.Column("source", Name, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
    )
    op.create_table(
        "faults",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("source", Name, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("fault", sa.Text, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
    )
    op.create_index("faults_by_source", "faults", ["source"])
    _ledgers()
    _batch_records()


def _ledgers() -> None:
    partitioned = op.get_context().dialect.name == "postgresql"
    op.create_table(
        "records",
        sa.Column("ledger", Name, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("kind", Name),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("node", Name),
        sa.Column("cluster", Name),
        sa.Column("account", Name),
        sa.Column("lease", Name),
        sa.Column("pid", sa.BigInteger),
        sa.Column("body", sa.Text),
        # A key of a partitioned table holds what it is partitioned by; the collector's claim keeps seq unique there.
        sa.PrimaryKeyConstraint("ledger", "seq", *(["time"] if partitioned else [])),
        postgresql_partition_by="RANGE (time)",
    )
    op.create_index("records_by_time", "records", ["kind", "time"])
    op.create_index("records_by_account", "records", ["account", "time"])
    op.create_index("records_by_lease", "records", ["lease", "time"])
    op.create_index("records_by_pid", "records", ["pid"])
    if partitioned:
        op.execute("CREATE TABLE records_other PARTITION OF records DEFAULT")
    op.create_table(
        "job_runs",
        sa.Column("ledger", Name, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("batch", Name, nullable=False),
        sa.Column("cluster", Name, nullable=False),
        sa.Column("node", Name, nullable=False),
        sa.Column("job", Name, nullable=False),
        sa.Column("restart", sa.BigInteger, nullable=False),
        sa.Column("account", Name, nullable=False),
        sa.Column("lease", Name, nullable=False),
        sa.Column("scheme", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("vo", sa.Text, nullable=False),
        sa.Column("stamp", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("boot", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger),
        sa.Column("ended_by", sa.Text, nullable=False),
    )
    op.create_index("job_runs_by_node", "job_runs", ["node", "start", "end"])
    op.create_index("job_runs_by_start", "job_runs", ["start", "end"])
    op.create_index("job_runs_by_job", "job_runs", ["job", "cluster"])
    op.create_index("job_runs_by_account", "job_runs", ["account", "start"])
    op.create_index("job_runs_open", "job_runs", ["ledger", "end"])


def _batch_records() -> None:
    op.create_table(
        "batch_jobs",
        sa.Column("batch", Name, primary_key=True),
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("job", Name, primary_key=True),
        sa.Column("submit", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("restart", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("account", Name, nullable=False),
        sa.Column("uid", sa.BigInteger),
        sa.Column("start", sa.BigInteger),
        sa.Column("end", sa.BigInteger),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("exit_code", sa.Text, nullable=False),
        sa.Column("user_cpu", sa.BigInteger, nullable=False),
        sa.Column("system_cpu", sa.BigInteger, nullable=False),
        sa.Column("total_cpu", sa.BigInteger, nullable=False),
        sa.Column("nodes", sa.Text, nullable=False),
        sa.Column("stamp", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False, server_default="")
            for name in ("name", "queue", "group_name", "project", "submit_host", "scheme", "subject", "fqan", "vo")
        ),
        sa.Column("cores", sa.BigInteger),
        sa.Column("wall", sa.BigInteger),
        sa.Column("memory", sa.BigInteger),
        sa.Column("fields", sa.Text, nullable=False, server_default=""),
    )
    op.create_index("batch_jobs_by_end", "batch_jobs", ["end"])
    op.create_index("batch_jobs_by_start", "batch_jobs", ["start"])
    op.create_table(
        "batch_steps",
        sa.Column("batch", Name, primary_key=True),
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("job", Name, primary_key=True),
        sa.Column("submit", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("restart", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("step", Name, primary_key=True),
        sa.Column("start", sa.BigInteger),
        sa.Column("end", sa.BigInteger),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("user_cpu", sa.BigInteger, nullable=False),
        sa.Column("system_cpu", sa.BigInteger, nullable=False),
        sa.Column("total_cpu", sa.BigInteger, nullable=False),
        sa.Column("nodes", sa.Text, nullable=False),
    )
    op.create_table(
        "imported_files",
        sa.Column("source", Name, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("path", sa.String(512), nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("size", "modified", "entries", "records", "quarantined", "ignored", "seen")
        ),
        sa.CheckConstraint("entries = records + quarantined + ignored", name="imported_files_add_up"),
    )
    op.create_index("imported_files_by_path", "imported_files", ["path"])
