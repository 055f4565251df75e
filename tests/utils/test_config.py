"""Configs travel through JSON unchanged, and a wrong field is named."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest

from utils.config import from_json, to_json
from utils.errors import ConfigError


class Mechanism(enum.Enum):
    PROPORTIONAL = "proportional"
    PRIORITY = "priority"


@dataclass(frozen=True, kw_only=True)
class Service:
    name: str
    usage: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, kw_only=True)
class Settings:
    steps: int
    rate: float = 0.5
    limit: int | None = None
    enabled: bool = True
    mechanism: Mechanism = Mechanism.PROPORTIONAL
    form: Literal["planner", "multi_agent"] = "planner"
    span: tuple[int, str] = (1, "day")
    services: tuple[Service, ...] = ()
    layers: Sequence[int] = (64,)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps}: at least one step")


FULL = Settings(
    steps=3,
    rate=0.25,
    limit=7,
    enabled=False,
    mechanism=Mechanism.PRIORITY,
    form="multi_agent",
    span=(2, "week"),
    services=(Service(name="web", usage=(1.0, 2.0)), Service(name="batch")),
    layers=(8, 8),
)


@pytest.mark.parametrize("settings", [FULL, Settings(steps=1)])
def test_a_config_survives_the_journey_through_text(settings):
    assert from_json(Settings, json.loads(json.dumps(to_json(settings)))) == settings


def test_absent_fields_take_their_defaults():
    assert from_json(Settings, {"steps": 2}) == Settings(steps=2)


def test_a_whole_number_is_a_fine_float_and_stored_as_one():
    rate = from_json(Settings, {"steps": 1, "rate": 1}).rate
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 1, "stepz": 2}, "unknown field stepz; known: steps, rate"),
        ({"steps": 1, "services": [{"nam": "web"}]}, r"unknown field services\[0\].nam"),
        ({"steps": 1, "services": [{"name": 3}]}, r"services\[0\].name wants str, not 3"),
        ({"steps": 1, "services": ["web"]}, r"services\[0\] wants an object"),
        ({"steps": 1, "services": "web"}, "services wants a list"),
        ({"steps": "many"}, "steps wants int, not 'many'"),
        ({"steps": True}, "steps wants int, not True"),
        ({"steps": 1.5}, "steps wants int, not 1.5"),
        ({"steps": 1, "enabled": 1}, "enabled wants bool, not 1"),
        ({"steps": 1, "rate": True}, "rate wants float, not True"),
        ({"steps": 1, "rate": None}, "rate wants float, not None"),
        ({"steps": 1, "limit": "x"}, "limit wants int, not 'x'"),
        ({"steps": 1, "mechanism": "auction"}, "mechanism='auction': choose from"),
        ({"steps": 1, "form": "single"}, "form='single': choose from"),
        ({"steps": 1, "span": [1]}, "span wants 2 items, not 1"),
        ({"steps": 1, "span": ["x", "day"]}, r"span\[0\] wants int"),
        ({"steps": 1, "layers": 8}, "layers wants a list, not 8"),
        ({"steps": 1, "layers": [8, 0.5]}, r"layers\[1\] wants int, not 0.5"),
        ({"rate": 0.1}, "steps"),
        ({"steps": 0}, "at least one step"),
    ],
)
def test_a_wrong_field_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        from_json(Settings, values)
