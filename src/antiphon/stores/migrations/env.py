"""Alembic's entry: migrate inside the transaction that `antiphon.stores.schema` has opened."""

from __future__ import annotations

from alembic import context

from antiphon.stores.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite too: the transaction was begun in SQL
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
