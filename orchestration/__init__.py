"""What runs, when, once; endpoints; the composition root."""

from __future__ import annotations
