"""Whose a run of HTCondor's is: its owner can have its ad name the job of somebody else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column."""
    op.add_column("batch_steps", sa.Column("account", sa.String(128), nullable=False, server_default=""))
