"""Alembic's entry: runs the migrations on the connection, and in the transaction, that migrate.upgrade opened."""

from alembic import context

from scep_server.ledger.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
