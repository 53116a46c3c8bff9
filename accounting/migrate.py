"""Bring a store's schema forward, by Alembic's migrations beside this module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(connection: Connection, version: str = "head") -> None:
    """Run the migrations up to a version that the database has not had, in the connection's transaction."""
    from alembic import command  # noqa: PLC0415  a fifth of a second, and seldom wanted
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, version)
