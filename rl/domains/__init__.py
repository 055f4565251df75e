"""What is observed, what is feasible and what an expert would do, once per domain."""

from __future__ import annotations
