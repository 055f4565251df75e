"""The one family of errors; each class names its condition, and modules add theirs beside their use."""

from __future__ import annotations


class QuartermasterError(Exception):
    """Anything the system refuses, with what to do about it."""


class ConfigError(QuartermasterError, ValueError):
    """A setting has a wrong name, type or range."""
