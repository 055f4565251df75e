"""The one family of errors; modules add theirs beside their use."""

from __future__ import annotations


class QuartermasterError(Exception):
    """Anything the system refuses, with what to do about it."""


class ConfigError(QuartermasterError, ValueError):
    """A setting has a wrong name, type or range."""


class ProcessLostError(QuartermasterError):
    """A process that shared the work has died; another attempt may go well."""
