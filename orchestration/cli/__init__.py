"""The command line: commands, tables and the live display."""

from __future__ import annotations
