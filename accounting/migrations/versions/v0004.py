"""Indexes for questions of a time over many years of jobs, and what exports need of a job besides."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# As gridwarden.accounting.spans has them when this is written: an index is of use to the same words alone.
CLASS = (
    'CASE WHEN "end" IS NULL THEN 6 WHEN "end" - start < 4294967296 THEN 0 WHEN "end" - start < 17179869184 THEN 1 '
    'WHEN "end" - start < 68719476736 THEN 2 WHEN "end" - start < 274877906944 THEN 3 '
    'WHEN "end" - start < 1099511627776 THEN 4 ELSE 5 END'
)
ONE_NODE = "CASE WHEN replace(replace(nodes, ',', ''), '[', '') = nodes THEN nodes ELSE '*' END"

REPLACED = {
    "records": ("records_by_account", "records_by_lease", "records_by_pid"),
    "job_runs": ("job_runs_by_node", "job_runs_by_start"),
    "batch_jobs": ("batch_jobs_by_start",),
}
INDEXES = (
    "records_by_account ON records (account, time) WHERE account IS NOT NULL",
    # Leases are random, and each line with one would change another page.
    "records_by_lease ON records (lease, time) WHERE kind = 'lease'",
    "records_by_pid ON records (pid) WHERE pid IS NOT NULL",
    "records_of_kills ON records (node, time) WHERE kind = 'kill'",
    f"job_runs_by_node ON job_runs (node, ({CLASS}), start)",
    f"job_runs_by_start ON job_runs (({CLASS}), start)",
    f"job_runs_of_payloads ON job_runs (({CLASS}), start) WHERE batch = 'payload'",
    f"batch_jobs_by_node ON batch_jobs (({ONE_NODE}), ({CLASS}), start)",
    f"batch_jobs_by_start ON batch_jobs (({CLASS}), start)",
    "batch_jobs_by_job ON batch_jobs (job)",
    "batch_jobs_by_account ON batch_jobs (account, start)",
)


def upgrade() -> None:
    """Add the columns, and make the indexes anew."""
    op.add_column("batch_jobs", sa.Column("slot", sa.Text, nullable=False, server_default=""))
    op.add_column("batch_jobs", sa.Column("node_class", sa.Text, nullable=False, server_default=""))
    op.add_column("batch_steps", sa.Column("slot", sa.Text, nullable=False, server_default=""))
    op.add_column("job_runs", sa.Column("held", sa.Text, nullable=False, server_default=""))
    for table, names in REPLACED.items():
        for name in names:
            op.drop_index(name, table)
    for index in INDEXES:
        op.execute(f"CREATE INDEX {index}")
