"""Routes of forms: what a training can be told, and whether it would be taken."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from orchestration.endpoints.security import Trainer, Unaudited
from orchestration.endpoints.shapes import Settings, may_fail
from orchestration.endpoints.submission import read_whole_config
from rl.training.settings_form import TrainingForm, describe_training, differing
from utils.config import to_json

router = APIRouter(
    prefix="/v1/training", tags=["training"], dependencies=[Trainer], responses=may_fail()
)


class CheckRequest(BaseModel):
    """Settings to be looked at."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    config: Settings = Field(default={}, description="As in a job.")


class CheckView(BaseModel):
    """Settings that a job would be taken with."""

    config: dict[str, Any] = Field(description="All of them.")
    differing: dict[str, Any] = Field(description="Those that are not as usual.")
    total_env_steps: int = Field(description="0 where only the problem knows.")


@router.get("/form")
async def get_form() -> TrainingForm:
    """Describe every setting of a training, and settings to begin with."""
    return await anyio.to_thread.run_sync(describe_training)


@router.post("/check", dependencies=[Unaudited])
async def check_config(request: CheckRequest) -> CheckView:
    """Say what a job would be told of its settings, without queueing it."""
    config = read_whole_config(request.config)
    return CheckView(
        config=to_json(config),
        differing=differing(config),
        total_env_steps=config.total_env_steps,
    )
