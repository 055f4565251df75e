"""How a version comes into use: canary, second answers, gate, rollback."""

from __future__ import annotations
