"""A typed async client of the HTTP API."""

from __future__ import annotations
