"""What an episode of every world looks like: random actions beside the world's expert.

Run `python -m benchmarks.episode_pictures [--worlds NAME ...]`: each world of the catalog plays the
same episode (seed 0) with random actions and with the expert that `EXPERTS` names, both are drawn
over one another into docs/environments/pictures/NAME.png, and both returns are printed. A world
without an expert here is drawn with random actions alone. About twenty seconds on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from torch import Tensor

from benchmarks.inventory import PUBLISHED_LEVELS
from rl.domains import allocation_experts as allocation
from rl.domains import capacity_experts as capacity
from rl.domains import cluster_experts as cluster
from rl.domains import constrained_experts as constrained
from rl.domains import execution_experts as execution
from rl.domains import job_experts as jobs
from rl.domains import market_making_experts as market_making
from rl.domains import node_experts as nodes
from rl.domains import portfolio_experts as portfolio
from rl.domains import trading_experts as trading
from rl.domains import traffic_experts as traffic
from rl.domains import workforce_experts as workforce
from rl.domains.inventory_experts import base_stock, reorder
from rl.domains.job_scheduling import JobSchedulingDomain
from rl.domains.supply_experts import SupplyExperts
from rl.environments.catalog import PRESETS, make_world
from rl.environments.conformance import random_action
from rl.environments.rendering import EpisodeHistory, draw_episodes
from rl.environments.world_builders import World

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "environments" / "pictures"
SEED = 0
COLORS = 48
"""Of a picture's palette: a third of the bytes of one in full colour, and nothing to see of it."""
PERIODS = 30
"""Episodes of one step are played so many times in a row: one point is no picture."""
UNUSED = np.random.default_rng(0)
"""For rules that draw nothing but take a generator."""

Decide = Callable[[Any], Tensor]
"""From an environment to the action of all its agents."""
View = TypeVar("View")


@dataclass(frozen=True, kw_only=True)
class Expert:
    """Who plays against random actions."""

    name: str
    """As the picture calls it."""
    decide: Decide


def as_arrays(view: View) -> View:
    """Turn a view of torch tensors, or of views of them, into one of NumPy arrays.

    Args:
        view: A dataclass.
    """

    def turn(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().cpu().numpy()
        return as_arrays(value) if is_dataclass(value) else value

    return type(view)(**{name: turn(value) for name, value in vars(view).items()})


def split_services(env: Any) -> Tensor:
    """Serve first, by value, what is lost unless served now, then the rest, by value."""
    settings = allocation.ExpertParameters()
    shares = allocation.urgent_value_split(as_arrays(env.view), env.config, settings)
    return torch.from_numpy(shares).reshape(env.num_envs, env.num_agents, -1)


def bid_values(env: Any) -> Tensor:
    """Ask for the units that the urgent-value rule gives, and bid what a unit earns."""
    services = [(one.priority, max(one.usage)) for one in env.config.services]
    worth = torch.tensor([priority / usage for priority, usage in services])
    bids = (worth / env.options.market.largest_bid)[:, None].expand(-1, len(env.config.resources))
    return torch.cat([split_services(env), bids[None].expand(env.num_envs, -1, -1)], -1)


def fill_cheapest(env: Any) -> Tensor:
    """Meet demands by priority per unit, each from the cheapest resource left."""
    return torch.from_numpy(constrained.fill_cheapest_first(as_arrays(env.view), env.config))[
        :, None
    ]


def move_shares(env: Any) -> Tensor:
    """Make the loss of this step and the loss expected later as small as one move can."""
    return torch.from_numpy(traffic.look_ahead(as_arrays(env.view), env.config))[:, None]


def offer_least_used(env: Any) -> Tensor:
    """Only the least used node offers, all it has free."""
    return torch.from_numpy(nodes.EXPERTS["least_used_1"](as_arrays(env.view), UNUSED))


def place_job(env: Any) -> Tensor:
    """Send the job where fragmentation grows least (FGD)."""
    expert = cluster.EXPERTS["fgd"]
    return torch.from_numpy(cluster.place(as_arrays(env.view), expert, env.config))[:, None]


def start_job(env: Any) -> Tensor:
    """Start the job that fits now with the best mix of alignment and brevity (Tetris)."""
    domain = JobSchedulingDomain(env.config)
    return torch.from_numpy(jobs.EXPERTS["tetris"](as_arrays(env.view), domain, UNUSED))[:, None]


def call_people(env: Any) -> Tensor:
    """Call as many people as are expected to be needed."""
    return torch.from_numpy(workforce.call_forecast(as_arrays(env.view), env.config, UNUSED))[
        :, None
    ]


def build_ahead(env: Any) -> Tensor:
    """Order capacity up to the demand forecast for when it will serve, plus a safety."""
    view = as_arrays(env.view)
    return torch.from_numpy(capacity.forecast_base_stock(view, env.config, UNUSED))[:, None]


def order_up_to(env: Any, *, levels: Sequence[float]) -> Tensor:
    """Order every echelon of a chain up to its level (base-stock)."""
    wanted = np.asarray(levels, np.float64)
    return torch.from_numpy(base_stock(as_arrays(env.view), env.config, wanted))[:, None]


def reorder_at(env: Any, *, point: float, level: float) -> Tensor:
    """Order up to a level once stock has fallen to a point: (s, S)."""
    low, high = np.asarray([point]), np.asarray([level])
    return torch.from_numpy(reorder(as_arrays(env.view), env.config, low, high))[:, None]


def order_echelons(env: Any, *, informed: bool) -> Tensor:
    """Order every echelon up to its critical fractile, late deliveries reckoned with."""
    late = env.config.max_delay
    rules = SupplyExperts(env.config, informed=informed, extra_steps=late)
    orders = rules.echelon_base_stock(as_arrays(env.view))
    action: Tensor = env.place(torch.from_numpy(orders).to(env.state.stock.dtype))
    return action


def sell_along_the_curve(env: Any) -> Tensor:
    """Sell along the curve of Almgren and Chriss."""
    return torch.from_numpy(execution.sell_optimally(as_arrays(env.view), env.config))[:, None]


def quote(env: Any) -> Tensor:
    """Quote around the reservation price of Avellaneda and Stoikov."""
    view = as_arrays(env.view)
    return torch.from_numpy(market_making.quote_around_reservation_price(view, env.config))[:, None]


def trade_on_trends(env: Any) -> Tensor:
    """Every trader holds what lies above its 20-step mean, less of it the more it moves."""
    return torch.from_numpy(trading.target_volatility(as_arrays(env.view), env.config, UNUSED))


def hold_maximum_sharpe(env: Any) -> Tensor:
    """Every 21 steps take the weights of the best Sharpe ratio so far, or all cash."""
    return torch.from_numpy(portfolio.EXPERTS["maximum_sharpe"](as_arrays(env.view), env.config))


def _base_stock(*levels: float) -> Expert:
    return Expert(name="base-stock", decide=partial(order_up_to, levels=levels))


_LEAST_USED = Expert(name="least used node", decide=offer_least_used)
_SPLIT = Expert(name="urgent value first", decide=split_services)
_INFORMED = Expert(name="echelon base-stock", decide=partial(order_echelons, informed=True))
EXPERTS: dict[str, Expert] = {
    "shared_services": _SPLIT,
    "service_agents": _SPLIT,
    "service_market": Expert(name="bids its value", decide=bid_values),
    "constrained_allocation": Expert(name="cheapest first", decide=fill_cheapest),
    "traffic_shares": Expert(name="look ahead", decide=move_shares),
    "distributed_nodes": _LEAST_USED,
    "distributed_nodes_deadlines": _LEAST_USED,
    "cluster_scheduling": Expert(name="FGD", decide=place_job),
    "job_scheduling": Expert(name="Tetris", decide=start_job),
    "workforce": Expert(name="forecast", decide=call_people),
    "capacity_planning": Expert(name="forecast base-stock", decide=build_ahead),
    "serial_inventory": _base_stock(*PUBLISHED_LEVELS["v0"]),
    "serial_inventory_lost_sales": _base_stock(*PUBLISHED_LEVELS["v1"]),
    "newsvendor": _base_stock(24.0),
    "fixed_order_cost": Expert(name="(s, S)", decide=partial(reorder_at, point=14.0, level=62.0)),
    "clark_scarf": _base_stock(6.49, 12.02, 22.71),
    "serial_supply": _INFORMED,
    "multi_echelon": _INFORMED,
    "five_product": Expert(
        name="echelon base-stock", decide=partial(order_echelons, informed=False)
    ),
    "execution": Expert(name="Almgren-Chriss", decide=sell_along_the_curve),
    "market_making": Expert(name="Avellaneda-Stoikov", decide=quote),
    "trading": Expert(name="trend and volatility", decide=trade_on_trends),
    "portfolio": Expert(name="maximum Sharpe ratio", decide=hold_maximum_sharpe),
}
"""By world; levels from benchmarks/inventory.py and benchmarks/results/stock_optima.json."""


def play(env: World, decide: Decide | None) -> EpisodeHistory:
    """Play the first episode of the seed, and keep what comes before the last reward.

    Args:
        env: At any point; it is reset.
        decide: The policy; None draws every action at random.
    """
    generator = torch.Generator().manual_seed(SEED)
    history, record = EpisodeHistory(env.charts), env.reset(SEED)
    records = []
    steps = env.shape.num_steps
    for _ in range(steps if steps > 1 else PERIODS):
        action = random_action(env, record, generator) if decide is None else decide(env)
        record = env.step(action)
        records.append(record)
    moments = [number for number, one in enumerate(records) if (one.reward != 0).any()]
    for record in records[: max(moments, default=0) + 1]:
        history.add(record)
    return history


def draw(name: str, folder: Path) -> dict[str, float]:
    """Draw a world's picture and return the return of every player.

    Args:
        name: In the catalog.
        folder: Where NAME.png goes.
    """
    env, expert = make_world(name, num_envs=1, seed=SEED), EXPERTS.get(name)
    players = {"random": play(env, None)}
    if expert is not None:
        players[expert.name] = play(env, expert.decide)
    returns = {who: float(history.series("return")[-1]) for who, history in players.items()}
    named = {f"{who}: return {write(returns[who])}": history for who, history in players.items()}
    canvas = FigureCanvasAgg(draw_episodes(named, f"{name}: {PRESETS[name].about}"))
    canvas.draw()  # type: ignore[no-untyped-call]
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]
    picture.quantize(COLORS).save(folder / f"{name}.png", optimize=True)
    return returns


def write(value: float) -> str:
    """Write a return as people do.

    Args:
        value: The return.
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the worlds that were asked for, and print who earned what.

    Args:
        arguments: Of the command line; None reads those of the process.

    Raises:
        ConfigError: There is no such world.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", default=list(PRESETS), metavar="NAME")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.worlds:
        returns = draw(name, options.folder)
        print(name, *(f"{who}: {write(value)}" for who, value in returns.items()), sep="  ")


if __name__ == "__main__":
    main()
