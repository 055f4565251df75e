"""What an examination finds: each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is broken."""
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    check: str
    severity: Severity
    text: str
    advice: str = ""
    """What to do; empty only where all is well."""


def fine(check: str, text: str) -> Finding:
    """Say that all is well.

    Args:
        check: What was looked at.
        text: What was seen.
    """
    return Finding(check=check, severity=Severity.OK, text=text)


def note(check: str, text: str, advice: str) -> Finding:
    """Say that something is worth knowing.

    Args:
        check: What was looked at.
        text: What was seen.
        advice: What to do.
    """
    return Finding(check=check, severity=Severity.NOTE, text=text, advice=advice)


def problem(check: str, text: str, advice: str) -> Finding:
    """Say that something is wrong.

    Args:
        check: What was looked at.
        text: What was seen.
        advice: What to do.
    """
    return Finding(check=check, severity=Severity.PROBLEM, text=text, advice=advice)
