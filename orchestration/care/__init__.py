"""What an operator needs: a look at the engine, an examination, backups."""

from __future__ import annotations
