"""From a trained investor to a policy artifact; no torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from data.market import MarketScenarios
from data.scenario import ScenarioArrays
from rl.artifacts import PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import ExportableAgent, PolicyShape, export_policy
from rl.domains.portfolio import FEATURES_PER_AGENT, FEATURES_PER_SYMBOL, PortfolioConfig
from utils.config import to_json
from utils.errors import ConfigError

PORTFOLIO = "portfolio"
PRICES, SYMBOLS, DAILY_RETURN = "prices.count", "symbols.count", "prices.daily_return"
"""Validated ranges: prices known of each symbol, symbols held at once, moves between prices."""


def export_investor(
    agent: ExportableAgent, card: PolicyCard, config: PortfolioConfig, *, num_symbols: int
) -> PolicyArtifact:
    """Make the artifact of a policy that holds a portfolio.

    Args:
        agent: The trained learner.
        card: What is known about it.
        config: The task it serves; its action is the one that was trained.
        num_symbols: Symbols of the market.

    Raises:
        ConfigError: The network does not observe or act as an investor in this market does.
    """
    shape = PolicyShape(
        domain=PORTFOLIO,
        config=json.dumps(to_json(config), sort_keys=True),
        observation_size=FEATURES_PER_SYMBOL * num_symbols + FEATURES_PER_AGENT,
        action_size=num_symbols,
        meaning=config.action,
    )
    return export_policy(agent, card, shape)


def market_ranges(scenarios: Sequence[ScenarioArrays]) -> tuple[ValidRange, ...]:
    """Measure between which request values scenarios lie.

    Args:
        scenarios: What the policy was trained and evaluated on; `MarketScenarios` each.

    Raises:
        ConfigError: Some are of another world.
    """
    known = [one for one in scenarios if isinstance(one, MarketScenarios)]
    if len(known) < max(len(scenarios), 1):
        raise ConfigError("ranges of an investor are measured on MarketScenarios only")
    counts = [one.history.shape[1] for one in known]
    active = [one.symbol_active.sum(-1) for one in known]
    returns = [_returns(one) for one in known]
    return (
        ValidRange(field=PRICES, low=float(min(counts)), high=float(max(counts))),
        ValidRange(
            field=SYMBOLS,
            low=float(min(part.min() for part in active)),
            high=float(max(part.max() for part in active)),
        ),
        ValidRange(
            field=DAILY_RETURN,
            low=float(min(part.min() for part in returns)),
            high=float(max(part.max() for part in returns)),
        ),
    )


def _returns(scenarios: MarketScenarios) -> np.ndarray:
    past = np.diff(np.log(scenarios.history.astype(np.float64)), axis=1)
    moves = np.concatenate([past, scenarios.log_return], axis=1)
    simple: np.ndarray = np.expm1(moves * scenarios.symbol_active[:, None])
    return simple
