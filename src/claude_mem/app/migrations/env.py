"""Alembic's entry: runs on the connection it is handed, in its caller's transaction."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transactional_ddl=False)
context.run_migrations()
