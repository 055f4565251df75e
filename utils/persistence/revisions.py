"""Which revisions of the database this program knows, told by the names of their files.

Every command asks; only a database that is not up to date needs Alembic, which is slow to load.
"""

from __future__ import annotations

import re
from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"
_FILE = re.compile(r"(\d{4})_\w+\.py")


def known_revisions() -> list[str]:
    """Return all revisions, the oldest first."""
    files = (MIGRATIONS / "versions").iterdir()
    return sorted(found[1] for path in files if (found := _FILE.fullmatch(path.name)))
