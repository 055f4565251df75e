"""What a training of a server can be told, as calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestration.client.connection import Connection
from orchestration.endpoints.form_routes import CheckView
from rl.training.settings_form import FormField, TrainingForm

__all__ = ["CheckView", "FormField", "TrainingCalls", "TrainingForm"]


class TrainingCalls:
    """What a training of a server can be told."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def form(self) -> TrainingForm:
        """Return every setting, and settings to begin with."""
        return await self._connection.call("GET", "/v1/training/form", TrainingForm)

    async def check(self, config: Mapping[str, Any]) -> CheckView:
        """Ask what a job would be told of its settings, without queueing it.

        Args:
            config: Fields of TrainingConfig that differ from its defaults.

        Raises:
            InvalidRequestError: It would be refused; `problems` names fields.
        """
        body = {"config": dict(config)}
        return await self._connection.call("POST", "/v1/training/check", CheckView, body=body)
