"""The records that `SyntheticDataGenerator` gives out, as they stand in its JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from data.agent_profiles import AgentType
from data.scenario import ScenarioError

METRICS = ("throughput", "accuracy", "response_time", "utilization")
EVENT_TYPES = ("buy", "sell", "analysis", "decision", "execution")


class AgentRecord(TypedDict):
    """One agent of the network."""

    id: str
    type: str
    throughput: float
    accuracy: float
    responseTime: float
    utilization: list[float]
    errorProbability: float
    learningRate: float
    collaboration: float
    domains: list[str]
    connections: list[str]


class ConnectionRecord(TypedDict):
    """One link; both agents list each other."""

    source: str
    target: str
    strength: float


class NetworkMetrics(TypedDict):
    """Figures of the whole network."""

    num_agents: int
    num_connections: int
    mean_degree: float
    density: float
    agents_by_type: dict[str, int]


class AgentNetwork(TypedDict):
    """Agents and links at one moment."""

    agents: list[AgentRecord]
    connections: list[ConnectionRecord]
    metrics: NetworkMetrics
    timestamp: str


class MetricRecord(TypedDict):
    """One reading of one metric of one agent."""

    timestamp: str
    agentId: str
    metric: str
    value: float


class TradingEvent(TypedDict):
    """One thing that an agent did in the market; profit is in currency, after commission."""

    id: str
    timestamp: str
    type: str
    agentId: str
    symbol: str
    side: str
    quantity: int
    price: float
    confidence: float
    reasoning: str
    outcome: str
    profit: float
    marketCondition: str
    volatility: float


class MarketRecord(TypedDict):
    """One symbol at one moment; indicators are computed from its prices up to then."""

    timestamp: str
    symbol: str
    price: float
    volume: float
    change: float
    sma: float
    rsi: float
    macd: float
    macdSignal: float
    bollingerUpper: float
    bollingerLower: float
    volatility: float
    marketCondition: str


class DatasetMetadata(TypedDict):
    """What the dataset was made from; the same values give the same bytes."""

    seed: int
    start: str
    num_agents: int
    duration_hours: float
    market_hours: float
    num_performance_metrics: int
    num_trading_events: int
    num_market_rows: int


class Dataset(TypedDict):
    """All sections."""

    metadata: DatasetMetadata
    agent_network: AgentNetwork
    performance_metrics: list[MetricRecord]
    trading_events: list[TradingEvent]
    market_data: list[MarketRecord]


def check_agents(agents: Sequence[AgentRecord]) -> None:
    """Refuse agents that nothing can be generated for.

    Args:
        agents: Records as `generate_agent_network` makes them.

    Raises:
        ScenarioError: There are none, one lacks a field, or has an unknown type.
    """
    if not agents:
        raise ScenarioError("no agents given; pass generate_agent_network(...)['agents']")
    types = [one.value for one in AgentType]
    for number, agent in enumerate(agents):
        missing = sorted(AgentRecord.__required_keys__ - set(agent))
        if missing:
            raise ScenarioError(f"agent {number} lacks the field {missing[0]}")
        if agent["type"] not in types:
            raise ScenarioError(
                f"agent {agent['id']} has the unknown type {agent['type']!r}; "
                f"choose from {', '.join(types)}"
            )
