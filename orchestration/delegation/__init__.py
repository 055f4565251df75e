"""One question, several answerers: patterns of asking, shared facts, records of decisions."""

from __future__ import annotations
