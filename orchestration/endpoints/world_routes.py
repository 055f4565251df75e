"""Routes of worlds: which there are, and what can be chosen of each."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import may_fail
from rl.domains.world_rules import played_by, rules_of
from rl.domains.world_sizes import SIZES, WORLDS

router = APIRouter(
    prefix="/v1/environments",
    tags=["environments"],
    dependencies=[Trainer],
    responses=may_fail(),
)


class SizeView(BaseModel):
    """A size that can be chosen."""

    name: str = Field(description="As in the settings of a session.")
    about: str
    default: float | str = Field(description="What the world has unless something is chosen.")
    low: float
    high: float
    is_whole: bool
    options: list[str] = Field(description="What it may be, where it is no number.")


class WorldView(BaseModel):
    """A world of the catalogue."""

    name: str
    about: str = Field(description="What is decided in it.")
    sizes: list[SizeView]
    experts: list[str] = Field(description="Rules that may decide, the usual one first.")
    played_by: list[str] = Field(description="Domains of the agents that may decide.")


@router.get("")
async def list_worlds() -> list[WorldView]:
    """List the worlds that a session can open."""
    return [
        WorldView(
            name=name,
            about=about,
            sizes=[SizeView(**{**vars(size), "options": list(size.options)}) for size in sizes],
            experts=list(rules_of(name)),
            played_by=list(played_by(name)),
        )
        for name, about in WORLDS.items()
        for sizes in [SIZES.get(name, ())]
    ]
