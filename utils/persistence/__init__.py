"""The database and the files: engine, tables, migrations, atomic writes, artifacts by hash."""

from __future__ import annotations
