"""What left the nodes beside their ledgers: the heads that syslog carried, and which ledgers are of which node."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Name = sa.String(128)


def upgrade() -> None:
    """Make the tables, and say of the ledgers that are there whose they are."""
    op.create_table(
        "heads",
        sa.Column("node", Name, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", Name, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
    )
    op.create_table(
        "ledger_nodes",
        sa.Column("ledger", Name, primary_key=True),
        sa.Column("node", Name, primary_key=True),
    )
    op.create_index("ledger_nodes_by_node", "ledger_nodes", ["node"])
    connection = op.get_bind()
    query = "SELECT DISTINCT ledger, node FROM records WHERE node IS NOT NULL"
    known = {(ledger, str(node).partition(".")[0]) for ledger, node in connection.execute(sa.text(query))}
    if known:
        insert = sa.text("INSERT INTO ledger_nodes (ledger, node) VALUES (:ledger, :node)")
        connection.execute(insert, [{"ledger": ledger, "node": node} for ledger, node in sorted(known)])
