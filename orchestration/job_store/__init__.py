"""Jobs in the database: the ledger that writes changes, the owners' side and the workers' side."""

from __future__ import annotations
