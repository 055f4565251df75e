"""What happens without anybody asking: schedules, pipelines and webhooks, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from orchestration.pipelines.submission import PipelineDesk
    from orchestration.scheduler.scheduler import Scheduler
    from orchestration.scheduler.schedules import SqlSchedules
    from orchestration.webhooks.courier import Courier


@dataclass(frozen=True, kw_only=True)
class Automation:
    """The parts, for whoever asks for one; built in one place, `orchestration.app`."""

    pipelines: PipelineDesk
    schedules: SqlSchedules
    scheduler: Scheduler
    courier: Courier

    async def run(self) -> None:
        """Start what is due and send what is told, until cancelled; any number of processes may."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.scheduler.run)
            group.start_soon(self.courier.run)
