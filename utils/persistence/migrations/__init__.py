"""Alembic's environment and our revisions; `utils.persistence.upgrade` runs them."""
