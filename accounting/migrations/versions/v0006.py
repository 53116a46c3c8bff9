"""What logs of other programs claim of who was behind an account: of LCMAPS, gLExec, BLAH and computing elements."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

Name = sa.String(128)
INDEXES = (
    "claims_by_account ON claims (account, time) WHERE what = 'mapping'",
    "claims_by_time ON claims (time) WHERE what = 'mapping'",
    "claims_by_job ON claims (job) WHERE what = 'job'",
    "claims_of_starts ON claims (time) WHERE what = 'start'",
    "claims_by_session ON claims (session, node, time) WHERE session <> ''",
)
VIEW = """
CREATE VIEW claims_v1 AS SELECT
    log, what, node, time, account, scheme, subject, fqan, vo, session, pid, batch, job, until, place
FROM claims
"""


def upgrade() -> None:
    """Make the table, its indexes and its view."""
    op.create_table(
        "claims",
        sa.Column("digest", Name, primary_key=True),
        *(sa.Column(name, Name, nullable=False) for name in ("log", "what", "node")),
        sa.Column("time", sa.BigInteger, nullable=False),
        *(sa.Column(name, Name, nullable=False) for name in ("account", "scheme")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("subject", "fqan", "vo")),
        sa.Column("session", Name, nullable=False),
        sa.Column("pid", sa.BigInteger),
        *(sa.Column(name, Name, nullable=False) for name in ("batch", "job")),
        sa.Column("until", sa.BigInteger),
        sa.Column("place", sa.Text, nullable=False),
    )
    for index in INDEXES:
        op.execute(f"CREATE INDEX {index}")
    op.execute(VIEW)
