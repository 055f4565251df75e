"""One window of shared services as a picture: what was asked for, and what each player held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from data.scenario import WorkloadScenarios
from rl.domains.resource_allocation import AllocationConfig
from rl.evaluation.evaluator import PlayTrace, record_play
from rl.evaluation.players import Player
from rl.evaluation.plots import INK, new_figure, readable, save_figure

SERVICE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
SERVICE_HATCHES = ("", "//", "..", "xx")
"""A second mark where services outnumber colours."""
MINUTES_PER_STEP = 5


@dataclass(frozen=True, kw_only=True)
class PlayedWindow:
    """One contender's way through the windows, of which one is drawn."""

    name: str
    trace: PlayTrace


def draw_busiest_window(
    config: AllocationConfig,
    scenarios: WorkloadScenarios,
    players: Mapping[str, Player],
    path: Path,
) -> None:
    """Let everybody play, and draw the window in which demand exceeds capacity most.

    Args:
        config: The world.
        scenarios: The windows.
        players: By name; each decides on shares of the capacities.
        path: PNG file to write.
    """
    played = [
        PlayedWindow(name=name, trace=record_play(config, scenarios, player))
        for name, player in players.items()
    ]
    episode = busiest_window(config, scenarios)
    plot_window(config, scenarios, episode, played=played, path=path)


def plot_window(
    config: AllocationConfig,
    scenarios: WorkloadScenarios,
    episode: int,
    *,
    played: Sequence[PlayedWindow],
    path: Path,
) -> None:
    """Draw one window: what was asked for and what each contender held, against capacity.

    Args:
        config: The world.
        scenarios: The windows that were played.
        episode: Which window.
        played: Who is shown, one row each.
        path: PNG file to write.
    """
    rows, columns = len(played) + 1, len(config.resources)
    figure = new_figure(5.6 * columns, 2.3 * rows + 1.0)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    usage = np.asarray([service.usage for service in config.services])
    layers = [("Asked for on arrival", scenarios.demand[episode][:, :, None] * usage)]
    for player in played:
        kpi = player.trace.reward[episode].sum()
        title = f"Held by {readable(player.name)} (KPI {kpi:,.0f})"
        layers.append((title, player.trace.allocation[episode]))
    for row, (title, amounts) in zip(grid, layers, strict=True):
        for resource, axes in enumerate(row):
            _draw_stack(axes, config, amounts[..., resource])
            capacity = scenarios.capacity[episode, :, resource]
            edges = _hours(len(capacity))
            label = "capacity (drops are failures)"
            axes.stairs(capacity, edges, baseline=None, color=INK, linewidth=1.8, label=label)
            axes.set_title(f"{title}: {config.resources[resource]}", loc="left", fontsize=10)
            axes.set_ylabel(f"{config.resources[resource]} units")
    for axes in grid[1:].flat:
        axes.set_ylim(0, 1.15 * max(config.capacity))
    for axes in grid[-1]:
        axes.set_xlabel("hours into the window")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False
    )
    figure.suptitle(
        f"Window {episode}, begins at {_clock_time(scenarios.time_of_day[episode, 0])}",
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    save_figure(figure, path)


def busiest_window(config: AllocationConfig, scenarios: WorkloadScenarios) -> int:
    """Return the window in which demand exceeds capacity most.

    Args:
        config: The world.
        scenarios: The windows.
    """
    usage = np.asarray([service.usage for service in config.services])
    excess = np.maximum(scenarios.demand @ usage - scenarios.capacity, 0.0)
    return int(excess.sum((1, 2)).argmax())


def _draw_stack(axes: Axes, config: AllocationConfig, amounts: np.ndarray) -> None:
    edges = _hours(len(amounts))
    bottom = np.zeros(len(amounts))
    for index, service in enumerate(config.services):
        top = bottom + amounts[:, index]
        axes.stairs(
            top,
            edges,
            baseline=bottom,
            fill=True,
            color=SERVICE_COLORS[index % len(SERVICE_COLORS)],
            hatch=SERVICE_HATCHES[index // len(SERVICE_COLORS) % len(SERVICE_HATCHES)],
            label=f"{readable(service.name)} (value {service.priority:g})",
        )
        bottom = top
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)


def _hours(steps: int) -> np.ndarray:
    return np.arange(steps + 1) * MINUTES_PER_STEP / 60


def _clock_time(time_of_day: float) -> str:
    minutes = round(time_of_day * 24 * 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"
