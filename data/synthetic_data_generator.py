"""`SyntheticDataGenerator`: networks, timelines, events and whole datasets from one seed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from data.market_timeline import STEPS_PER_HOUR, make_market_rows, make_timeline
from data.synthetic_agents import make_network, make_performance
from data.synthetic_events import HOLDING, make_events
from data.synthetic_records import (
    AgentNetwork,
    AgentRecord,
    Dataset,
    MarketRecord,
    MetricRecord,
    TradingEvent,
    check_agents,
)
from utils.errors import ConfigError
from utils.persistence.files import write_atomically
from utils.seeding import make_generator

DEFAULT_START = datetime(2025, 1, 6, 9, 0, tzinfo=UTC)
DEFAULT_FOLDER = Path("var") / "synthetic_data"
EVENT_HOURS = 8
"""Hours of the market that trading events fall in."""
DATASET_FILE = "synthetic_data.json"


class SyntheticDataGenerator:
    """Synthetic data of a network of trading agents.

    Everything is a function of the seed, the start and the arguments, to the byte: no clock is
    read, and no call changes what another returns. The prices of events are those of the market
    timeline of the same seed and start.
    """

    def __init__(self, seed: int = 42, *, start: datetime = DEFAULT_START) -> None:
        """Keep what everything derives from.

        Args:
            seed: The only source of chance.
            start: Time of the first reading, with a time zone.

        Raises:
            ConfigError: The start has no time zone.
        """
        if start.tzinfo is None:
            raise ConfigError(f"start={start} has no time zone; give one, such as tzinfo=UTC")
        self.seed = seed
        self.start = start

    def generate_agent_network(self, num_agents: int = 12) -> AgentNetwork:
        """Make a connected network of the requested size, the four types in turn.

        Args:
            num_agents: How many.

        Raises:
            ConfigError: Fewer than one.
        """
        _check_count("num_agents", num_agents, 1)
        generator = make_generator(self.seed, "network", num_agents)
        return make_network(num_agents, self.start.isoformat(), generator)

    def generate_performance_timeline(
        self, agents: Sequence[AgentRecord], duration_hours: float = 24
    ) -> list[MetricRecord]:
        """Make readings of four metrics per agent and minute, of which 80 % arrive.

        Args:
            agents: Of a network; any size.
            duration_hours: From the start.

        Raises:
            ScenarioError: There are no agents, or one lacks a field or has an unknown type.
            ConfigError: The duration is shorter than a minute.
        """
        check_agents(agents)
        minutes = _count_steps("duration_hours", duration_hours, 60)
        generator = make_generator(self.seed, "performance")
        return make_performance(agents, minutes, self.start, generator)

    def generate_trading_scenarios(
        self, agents: Sequence[AgentRecord], num_events: int = 200
    ) -> list[TradingEvent]:
        """Make events in the first eight hours of the market, in order of time.

        Args:
            agents: Who acts.
            num_events: How many.

        Raises:
            ScenarioError: There are no agents, or one lacks a field or has an unknown type.
            ConfigError: The number is negative.
        """
        check_agents(agents)
        _check_count("num_events", num_events, 0)
        timeline = make_timeline(self.seed, EVENT_HOURS * STEPS_PER_HOUR + HOLDING)
        generator = make_generator(self.seed, "events")
        return make_events(agents, num_events, timeline, start=self.start, generator=generator)

    def generate_market_data_timeline(self, duration_hours: float = 8) -> list[MarketRecord]:
        """Make prices, volumes and indicators of 18 symbols every five minutes.

        Args:
            duration_hours: From the start.

        Raises:
            ConfigError: The duration is shorter than five minutes.
        """
        steps = _count_steps("duration_hours", duration_hours, STEPS_PER_HOUR)
        return make_market_rows(make_timeline(self.seed, steps), self.start)

    def generate_complete_dataset(
        self,
        save_to_file: bool = True,  # noqa: FBT001, FBT002 - the promised signature
        *,
        folder: Path = DEFAULT_FOLDER,
        num_agents: int = 12,
        duration_hours: float = 24,
        num_events: int = 200,
    ) -> Dataset:
        """Make all sections, and write them unless told otherwise.

        Args:
            save_to_file: Whether to write.
            folder: Where to.
            num_agents: Size of the network.
            duration_hours: Of the performance timeline; the market opens for eight hours.
            num_events: Trading events.

        Raises:
            ConfigError: A size is out of range.
            OSError: The folder cannot be written.
        """
        network = self.generate_agent_network(num_agents)
        performance = self.generate_performance_timeline(network["agents"], duration_hours)
        events = self.generate_trading_scenarios(network["agents"], num_events)
        market = self.generate_market_data_timeline(EVENT_HOURS)
        dataset: Dataset = {
            "metadata": {
                "seed": self.seed,
                "start": self.start.isoformat(),
                "num_agents": num_agents,
                "duration_hours": duration_hours,
                "market_hours": EVENT_HOURS,
                "num_performance_metrics": len(performance),
                "num_trading_events": len(events),
                "num_market_rows": len(market),
            },
            "agent_network": network,
            "performance_metrics": performance,
            "trading_events": events,
            "market_data": market,
        }
        if save_to_file:
            self.save_dataset(dataset, folder)
        return dataset

    def save_dataset(self, dataset: Dataset, folder: Path = DEFAULT_FOLDER) -> tuple[Path, ...]:
        """Write one JSON file with everything and a CSV file per table, each whole or not at all.

        Args:
            dataset: All sections.
            folder: Where to; made if absent.

        Returns:
            The files, the JSON file first.

        Raises:
            ConfigError: A section is missing.
            OSError: The folder cannot be written.
        """
        missing = sorted(Dataset.__required_keys__ - set(dataset))
        if missing:
            raise ConfigError(f"the dataset lacks {missing[0]}; see generate_complete_dataset")
        tables: dict[str, Sequence[Mapping[str, object]]] = {
            "performance_metrics": dataset["performance_metrics"],
            "trading_events": dataset["trading_events"],
            "market_data": dataset["market_data"],
        }
        files = {DATASET_FILE: json.dumps(dataset, allow_nan=False) + "\n"}
        files |= {f"{name}.csv": _to_csv(table) for name, table in tables.items()}
        for name, text in files.items():
            write_atomically(folder / name, text.encode())
        return tuple(folder / name for name in files)


def _to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _check_count(name: str, value: int, lowest: int) -> None:
    if value < lowest:
        raise ConfigError(f"{name}={value}; give {lowest} or more")


def _count_steps(name: str, hours: float, steps_per_hour: int) -> int:
    """Return the whole steps in a duration."""
    steps = int(hours * steps_per_hour + 1e-9) if math.isfinite(hours) else 0
    if steps < 1:
        raise ConfigError(
            f"{name}={hours} is not a time; give {1 / steps_per_hour:.4g} hours or more"
        )
    return steps
