"""Trading as most people would write it, and the check that it is the same world."""

from __future__ import annotations

import math

import numpy as np
import torch

from benchmarks.measuring import Speed, measure
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.scenario import BankConfig, ScenarioBank
from data.trading_scenarios import TradingScenarios, TradingSource, TradingStage
from rl.domains.trading_config import BackgroundConfig, TradingConfig
from rl.environments.lockstep import LockstepOptions
from rl.environments.trading_market import BatchedTrading

SYMBOLS = 5

Actions = dict[str, np.ndarray]


def make_trading(
    num_envs: int, seed: int, *, num_agents: int = 4, episodes: int = 256, shuffle: bool = True
) -> BatchedTrading:
    """Build the batched world with all its features on.

    Args:
        num_envs: Copies.
        seed: Of its episodes.
        num_agents: Who trade.
        episodes: Held by the bank.
        shuffle: Whether episodes are drawn at random.
    """
    config = TradingConfig(
        agents=tuple(f"trader_{number}" for number in range(num_agents)),
        leverage_limit=1.5,
        background=BackgroundConfig(noise=500.0, momentum=200.0, market_makers=200.0),
    )
    market = SyntheticMarketConfig(
        max_symbols=SYMBOLS, max_steps=config.max_steps, regime=None, regime_switching=True
    )
    source = TradingSource(SyntheticMarket(market), TradingStage(max_agents=num_agents))
    bank = ScenarioBank(source, BankConfig(num_episodes=episodes), seed)
    options = LockstepOptions(num_envs=num_envs, shuffle=shuffle)
    return BatchedTrading(config, bank, options, seed)


class PlainIndicators:
    """Indicators of all symbols of one market, small arrays."""

    def __init__(self, history: np.ndarray) -> None:
        """Read a history.

        Args:
            history: `[time, symbol]`.
        """
        self.prices = [history[0]] * 21
        self.gain = self.loss = self.signal = self.slow_variance = np.zeros_like(history[0])
        self.fast = self.slow = history[0]
        self.seen = 0
        for price in history[1:]:
            self.add(price)

    def add(self, price: np.ndarray) -> None:
        """Bring all forward by one price.

        Args:
            price: `[symbol]`.
        """
        self.seen += 1
        change = price - self.prices[-1]
        weight = 1.0 / min(self.seen, 14)
        self.gain = self.gain + weight * (np.maximum(change, 0.0) - self.gain)
        self.loss = self.loss + weight * (np.maximum(-change, 0.0) - self.loss)
        self.fast = self.fast + 2.0 / 13.0 * (price - self.fast)
        self.slow = self.slow + 2.0 / 27.0 * (price - self.slow)
        self.signal = self.signal + 0.2 * (self.fast - self.slow - self.signal)
        squared = np.log(price / self.prices[-1]) ** 2
        self.slow_variance = self.slow_variance + (squared - self.slow_variance) / min(
            self.seen, 60
        )
        self.prices = [*self.prices[1:], price]

    def read(self) -> dict[str, np.ndarray]:
        """Return the readings, `[symbol]` each."""
        window = np.array(self.prices)
        returns = np.diff(np.log(window), axis=0)
        moved = np.maximum(self.gain + self.loss, 1e-12)
        return {
            "last": returns[-1],
            "rsi": np.where(self.gain + self.loss > 0, 100.0 * self.gain / moved, 50.0),
            "macd": self.fast - self.slow,
            "signal": self.signal,
            "middle": window[1:].mean(0),
            "deviation": np.sqrt(window[1:].var(0) + 1e-12),
            "volatility": np.sqrt((returns**2).mean(0) + 1e-12),
            "slow_volatility": np.sqrt(self.slow_variance + 1e-12),
        }


class PlainTrading:
    """The world as most people would write it: one copy, dicts keyed by agent, small arrays."""

    def __init__(self, config: TradingConfig, scenarios: TradingScenarios, episode: int) -> None:
        """Keep one episode; all agents and symbols must be switched on.

        Args:
            config: The market.
            scenarios: Its episodes.
            episode: Which of them.
        """
        self.config = config
        self._history = scenarios.history[episode].astype(float)
        self._log_return = scenarios.log_return[episode].astype(float)
        self._noise = scenarios.noise[episode].astype(float)
        self._fee = float(scenarios.transaction_cost[episode])
        self._max_position = float(scenarios.max_position[episode])
        self.balance = dict(zip(config.agents, config.balances, strict=True))
        self.reset()

    def reset(self) -> dict[str, np.ndarray]:
        """Begin the episode anew."""
        symbols = len(self.config.symbols)
        self._t, self.index_peak = 0, 1.0
        self.first = self.price = self._history[-1]
        self.indicators = PlainIndicators(self._history)
        self.read = self.indicators.read()
        self.cash = dict(self.balance)
        self.equity, self.peak = dict(self.cash), dict(self.cash)
        self.shares = {agent: np.zeros(symbols) for agent in self.cash}
        self.entry = dict.fromkeys(self.cash, self.price)
        self.stop = {agent: np.zeros(symbols) for agent in self.cash}
        self.take = {agent: np.zeros(symbols) for agent in self.cash}
        self.out: set[str] = set()
        return self.observe()

    def step(self, actions: Actions) -> tuple[dict[str, np.ndarray], dict[str, float], bool]:
        """Trade, let the price move, let the ruined go.

        Args:
            actions: Size, stop and take-profit of every symbol, per agent.
        """
        config, price = self.config, self.price
        living = [agent for agent in self.cash if agent not in self.out]
        orders = {agent: self._order(agent, actions[agent]) for agent in living}
        push = config.market_impact_factor / 1000.0 * self.first
        total = self._background() + sum(orders.values(), np.zeros_like(price))
        move = np.maximum(push * total, -0.9 * price)
        fill, pushed = price + move / 2.0, price + move
        self.price = pushed * np.exp(self._log_return[self._t])
        reward = dict.fromkeys(self.cash, 0.0)
        for agent, order in orders.items():
            self._enter(agent, order, fill)
            self.cash[agent] -= float(order @ fill) + self._cost(order, price)
        worth = self._appraise(living, push)
        ruined = [one for one in living if worth[one] <= config.ruin * self.balance[one]]
        if ruined:
            self._sell_out(ruined, push)
            worth = self._appraise(living, push)
        for agent, equity in worth.items():
            reward[agent] = (equity - self.equity[agent]) / self.balance[agent]
            self.equity[agent] = equity
            self.peak[agent] = max(self.peak[agent], equity)
        self.indicators.add(self.price)
        self.read = self.indicators.read()
        self.index_peak = max(self.index_peak, float((self.price / self.first).mean()))
        self._t += 1
        return self.observe(), reward, self._t == config.max_steps

    def observe(self) -> dict[str, np.ndarray]:
        """Return what every agent sees."""
        price, read = self.price, self.read
        away = price - read["middle"]
        market = np.stack(
            [
                np.ones_like(price),
                4.0 * np.log(price / self.first),
                read["last"] / read["slow_volatility"],
                read["rsi"] / 50.0 - 1.0,
                50.0 * read["macd"] / price,
                50.0 * read["signal"] / price,
                away / (2.0 * read["deviation"] + 1e-6 * price),
                20.0 * read["deviation"] / price,
                math.sqrt(252) * read["volatility"],
                read["volatility"] / read["slow_volatility"] - 1.0,
                10.0 * away / price,
            ],
        ).ravel()
        fall = 1.0 - float((price / self.first).mean()) / self.index_peak
        left = 1.0 - self._t / self.config.max_steps
        shared = [fall, left, 100.0 * self._fee]
        return {agent: self._see(agent, market, shared) for agent in self.cash}

    def _appraise(self, agents: list[str], push: np.ndarray) -> dict[str, float]:
        price = self.price - push / 2.0 * sum(self.shares.values(), np.zeros_like(push))
        return {agent: self.cash[agent] + float(self.shares[agent] @ price) for agent in agents}

    def _sell_out(self, ruined: list[str], push: np.ndarray) -> None:
        sold = sum((self.shares[agent] for agent in ruined), np.zeros_like(push))
        move = np.maximum(-push * sold, -0.9 * self.price)
        for agent in ruined:
            held = self.shares[agent]
            self.cash[agent] += float(held @ (self.price + move / 2.0))
            self.cash[agent] -= self._cost(held, self.price)
            self.shares[agent] = np.zeros_like(held)
            self.out.add(agent)
        self.price = self.price + move

    def _see(self, agent: str, market: np.ndarray, shared: list[float]) -> np.ndarray:
        if agent in self.out:
            size = len(market) + len(shared) + 4 * len(self.price) + 5
            return np.zeros(size, np.float32)
        held = self.shares[agent] * self.price
        equity, balance = self.equity[agent], self.balance[agent]
        worth = max(equity, 0.01 * balance)
        own = np.stack(
            [
                held / worth,
                5.0 * self._gain(agent),
                self.stop[agent] / self.config.max_stop,
                self.take[agent] / self.config.max_take,
            ],
        ).ravel()
        private = [
            self.cash[agent] / worth,
            float(np.abs(held).sum()) / worth,
            equity / balance - 1.0,
            1.0 - equity / self.peak[agent],
            self._max_position,
        ]
        seen = np.concatenate([market, shared, own, private])
        return np.clip(seen, -5.0, 5.0).astype(np.float32)

    def _gain(self, agent: str) -> np.ndarray:
        return np.sign(self.shares[agent]) * (self.price / self.entry[agent] - 1.0)

    def _order(self, agent: str, action: np.ndarray) -> np.ndarray:
        """Return feasible orders and set the levels."""
        config, price, shares = self.config, self.price, self.shares[agent]
        chosen = np.clip(action, -1.0, 1.0).reshape(-1, 3)
        equity, gain = self.equity[agent], self._gain(agent)
        worth = max(equity, 0.0)
        stop, take = self.stop[agent], self.take[agent]
        exits = ((stop > 0) & (gain <= -stop)) | ((take > 0) & (gain >= take))
        exits |= equity < config.margin_call * float((np.abs(shares) * price).sum())
        self.stop[agent] = np.maximum(chosen[:, 1], 0.0) * config.max_stop
        self.take[agent] = np.maximum(chosen[:, 2], 0.0) * config.max_take
        largest = self._max_position * worth / price
        wanted = shares + chosen[:, 0] * config.order_share * worth / price
        target = np.clip(wanted, np.minimum(shares, -largest), np.maximum(shares, largest))
        target = np.where(exits & (shares != 0), 0.0, target)
        return self._fit(agent, target - shares)

    def _fit(self, agent: str, order: np.ndarray) -> np.ndarray:
        config, price, shares = self.config, self.price, self.shares[agent]
        equity = self.equity[agent]
        reduces = np.where(
            shares > 0,
            np.minimum(np.maximum(order, -shares), 0.0),
            np.maximum(np.minimum(order, -shares), 0.0),
        )
        opens, kept = order - reduces, shares + reduces
        shorts = np.minimum(opens, 0.0)
        room = config.short_limit * equity + float((np.minimum(kept, 0.0) * price).sum())
        need = -float((shorts * price).sum())
        if need > max(room, 0.0):
            opens = opens + (max(room, 0.0) / need - 1.0) * shorts
        before = self._outlay(reduces)
        need = float((np.abs(opens) * price).sum())
        need += config.leverage_limit * (self._outlay(reduces + opens) - before)
        room = config.leverage_limit * (equity - before) - float((np.abs(kept) * price).sum())
        if need > max(room, 0.0):
            opens = max(room, 0.0) / need * opens
        return reduces + opens

    def _cost(self, order: np.ndarray, price: np.ndarray) -> float:
        rate = self._fee + self.config.half_spread
        factor = self.config.temporary_impact_factor / 1000.0
        return float((rate * np.abs(order) * price + factor * self.first * order**2).sum())

    def _outlay(self, order: np.ndarray) -> float:
        factor = self.config.market_impact_factor / 2000.0
        return self._cost(order, self.price) + float((factor * self.first * order**2).sum())

    def _background(self) -> np.ndarray:
        wish, read = self.config.background, self.read
        trend = np.log(self.price / self.indicators.prices[0]) / read["volatility"] / 20**0.5
        away = (self.price - read["middle"]) / (2.0 * read["deviation"] + 1e-6 * self.price)
        noise: np.ndarray = wish.noise * self._noise[self._t]
        return noise + wish.momentum * np.tanh(trend) - wish.market_makers * np.tanh(away)

    def _enter(self, agent: str, order: np.ndarray, fill: np.ndarray) -> None:
        """Take the order into the account and average what positions were opened at."""
        before, now = self.shares[agent], self.shares[agent] + order
        added = np.maximum(np.abs(now) - np.abs(before), 0.0)
        size = np.abs(now)
        mean = (self.entry[agent] * (size - added) + fill * added) / np.maximum(size, 1e-9)
        entry = np.where(before * now <= 0, fill, mean)
        self.entry[agent] = np.where(size > 1e-9, entry, self.price)
        self.shares[agent] = now


def check_plain_trading(seed: int) -> float:
    """Return the largest difference between the plain loop and the core over one episode.

    Args:
        seed: Of episode and actions.

    Raises:
        SystemExit: They do not play the same world.
    """
    core = make_trading(1, seed, episodes=2, shuffle=False)
    record = core.reset(seed)
    plain = PlainTrading(core.config, core.bank.scenarios, int(core.episode_index[0]))
    draw = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(core.config.max_steps):
        action = draw.uniform(-1, 1, (1, core.num_agents, core.action_size)).astype(np.float32)
        record = core.step(torch.from_numpy(action))
        seen, reward, _ = plain.step(dict(zip(core.agent_ids, action[0], strict=True)))
        for index, agent in enumerate(core.agent_ids):
            error = abs(reward[agent] - float(record.reward[0, index]))
            far = np.abs(seen[agent] - record.final_observation[0, index].numpy()).max()
            worst = max(worst, error, float(far))
    if worst > 1e-3:
        raise SystemExit(f"the plain loop differs from the core by {worst}; it is no peer")
    return worst


def measure_plain_trading(seed: int = 0) -> Speed:
    """Measure the dict-per-agent loop.

    Args:
        seed: Of episode and actions.
    """
    core = make_trading(1, seed, episodes=1)
    world = PlainTrading(core.config, core.bank.scenarios, 0)
    draw = np.random.default_rng(seed)
    actions = {agent: draw.uniform(-1, 1, core.action_size) for agent in core.agent_ids}

    def step() -> None:
        _, _, ended = world.step(actions)
        if ended:
            world.reset()

    return measure("dict-per-agent loop", 1, step)
