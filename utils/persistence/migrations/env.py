"""Run migrations on the connection that `utils.persistence.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from utils.persistence.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="quartermaster_revision",
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
