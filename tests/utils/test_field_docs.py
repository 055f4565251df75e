"""What stands below a field in the source is what help says of it."""

from __future__ import annotations

from dataclasses import dataclass

from utils.field_docs import field_docs


@dataclass
class Settings:
    """Of a thing."""

    rate: float = 0.1
    size: int = 3
    """How large,
    in metres."""


def test_documented_fields_are_found():
    assert field_docs(Settings) == {"size": "How large, in metres."}
