"""`python -m orchestration`."""

from __future__ import annotations

from orchestration.cli.commands import main

if __name__ == "__main__":
    main()
