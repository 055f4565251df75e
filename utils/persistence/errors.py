"""What can go wrong with stored state."""

from __future__ import annotations

from utils.errors import QuartermasterError


class DatabaseError(QuartermasterError):
    """The database cannot be used as it is."""


class ArtifactMissingError(QuartermasterError, LookupError):
    """No artifact is stored under this hash."""


class ArtifactCorruptError(QuartermasterError):
    """Stored bytes do not have the hash they are stored under."""


class ArtifactsUnreachableError(QuartermasterError):
    """The place of the artifacts does not answer, or refuses us."""
