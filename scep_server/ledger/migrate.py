"""Brings a database to the schema of this program, through Alembic, in one transaction and under a lock.

A server that finds an older schema upgrades it: SQLite under its write lock, PostgreSQL under an advisory lock, so of
several processes that start together one does the work and the others find it done.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from scep_server.ledger.database import Database, DatabaseError
from scep_server.ledger.schema import APPLICATION_ID


def alembic_config() -> Config:
    """Configuration without a file: the migrations lie in the package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(database: Database, revision: str = "head") -> None:
    """Run what is missing. Driver errors pass; nothing is half done."""
    config = alembic_config()
    try:
        with database.engine.begin() as connection:
            if not database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": APPLICATION_ID})
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except DBAPIError as error:
        if isinstance(error.orig, DatabaseError):
            raise error.orig from error
        raise
