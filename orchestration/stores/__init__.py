"""State of other layers' ports, kept in our database."""

from __future__ import annotations
