"""The database and the files: engine, tables, migrations, atomic writes, content-addressed store."""

from __future__ import annotations
