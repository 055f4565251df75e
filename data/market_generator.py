"""Markets made from laws: regimes, clustered volatility, leverage, heavy tails, jumps, factors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.market import REGIMES, MarketScenarios
from data.market_config import PriceLaw, SyntheticMarketConfig
from data.scenario import Array

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Moves:
    """What moves prices, `[time, episode, symbol]` each."""

    innovation: Array
    """Normal, of variance one, correlated over symbols."""
    log_volatility: Array
    """Around mean zero."""
    mixing: Array
    """Variance of the innovation given that of the day: mean one."""
    jump: Array
    """In standard deviations of a step, zero for most."""


def compute_kernel(law: PriceLaw) -> tuple[Values, Values, Values]:
    """Write the logarithm of volatility as a sum of autoregressions with one common shock.

    Args:
        law: Time scales.

    Returns:
        Persistence `[scale]`, weight of a shock `[scale]`, and the stationary covariance of the
        scales `[scale, scale]`: w_i w_j / (1 - p_i p_j).
    """
    persistence = np.asarray([scale.persistence for scale in law.scales])
    deviation = np.asarray([scale.deviation for scale in law.scales])
    weight = deviation * np.sqrt(1 - persistence**2)
    covariance = np.outer(weight, weight) / (1 - np.outer(persistence, persistence))
    return persistence, weight, covariance


class SyntheticMarket:
    """A scenario source of synthetic prices.

    The return of the logarithm in a step is

        r = d + s (a sqrt(m) e^(v - V) z + J) - c,

    with d the drift and s the volatility of a step in its regime, v the logarithm of volatility
    around its mean (Gaussian, variance V), z normal, m inverse gamma with mean one (so sqrt(m) z is
    Student's t), J the jumps and a^2 the share of variance that is not theirs: the variance of
    r / s is 1 in every regime. c makes E[exp(r)] = exp(d) exactly, given the past: with no drift
    the price is a martingale. Volatility starts from its stationary law; nothing is burnt in.
    After Taylor (1986), Harvey and Shephard (1996) on leverage, Merton (1976) on jumps.
    """

    def __init__(self, config: SyntheticMarketConfig) -> None:
        """Prepare what all draws share.

        Args:
            config: Laws and sizes.
        """
        self._config = config
        rows = np.asarray(config.symbols.loadings)
        self._loadings = np.broadcast_to(rows, (config.max_symbols, rows.shape[1]))
        self._kernel = compute_kernel(config.law)

    def draw(self, num_episodes: int, generator: np.random.Generator) -> MarketScenarios:
        """Draw episodes; the first symbols do not depend on how many are switched on.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        config = self._config
        length = config.lookback - 1 + config.max_steps
        shape = (length, num_episodes, config.max_symbols)
        regime = self._draw_regimes(length, num_episodes, generator)
        moves = self._draw_moves(shape, generator)
        log_return = self._compose(regime, moves)
        volume = self._draw_volume(moves, generator)
        noise = generator.standard_normal(shape, dtype=np.float32)
        price = generator.uniform(*config.first_price, (num_episodes, 1, config.max_symbols))
        active = np.arange(config.max_symbols) < config.active_symbols
        by_episode = [np.moveaxis(values, 0, 1) * active for values in (log_return, volume, noise)]
        known = config.lookback - 1
        log_return, volume, noise = (values.astype(np.float32) for values in by_episode)
        before = np.zeros((num_episodes, config.lookback, config.max_symbols))
        before[:, :known] = -log_return[:, :known][:, ::-1].cumsum(1)[:, ::-1]
        return MarketScenarios(
            history=(price * np.exp(before)).astype(np.float32),
            log_return=log_return[:, known:],
            volume=volume[:, known:],
            regime=np.ascontiguousarray(regime[known:].T),
            noise=noise[:, known:],
            symbol_active=np.tile(active, (num_episodes, 1)).astype(np.float32),
        )

    def _draw_regimes(
        self, length: int, num_episodes: int, generator: np.random.Generator
    ) -> NDArray[np.int8]:
        """Return `[time, episode]`; the history lies in the first regime."""
        config = self._config
        drawn = generator.integers(len(REGIMES), size=(length, num_episodes), dtype=np.int8)
        switch = generator.random((length, num_episodes)) < config.switch_probability
        switch &= config.regime_switching
        switch[: config.lookback] = False
        if config.regime is not None:
            drawn[0] = REGIMES.index(config.regime)
        last = np.maximum.accumulate(np.where(switch, np.arange(length)[:, None], 0), axis=0)
        return np.take_along_axis(drawn, last, axis=0)

    def _draw_moves(self, shape: tuple[int, int, int], generator: np.random.Generator) -> _Moves:
        law, symbols = self._config.law, self._config.symbols
        scales = len(law.scales)
        longer = (shape[0] + scales, *shape[1:])
        innovation = self._draw_innovations(longer, generator)
        common = generator.standard_normal((*longer[:2], 1), dtype=np.float32)
        own = generator.standard_normal(longer, dtype=np.float32)
        share = symbols.shared_volatility
        rest = np.float32(math.sqrt(share)) * common + np.float32(math.sqrt(1 - share)) * own
        # A shock is known one step after the return that it is correlated with.
        shock: Array = np.float32(math.sqrt(1 - law.leverage**2)) * rest
        shock[1:] += law.leverage * innovation[:-1]
        mixing = np.ones(shape, dtype=np.float32)
        if law.innovation_kurtosis:
            degrees = 4 + 6 / law.innovation_kurtosis
            half = generator.standard_gamma(degrees / 2, shape, dtype=np.float32)
            mixing = np.float32(degrees / 2 - 1) / half
        return _Moves(
            innovation=innovation[scales:],
            log_volatility=self._filter(shock),
            mixing=mixing,
            jump=self._draw_jumps(shape, generator),
        )

    def _draw_innovations(
        self, shape: tuple[int, int, int], generator: np.random.Generator
    ) -> Array:
        loadings = self._loadings
        factors = generator.standard_normal((*shape[:2], loadings.shape[1]), dtype=np.float32)
        own = generator.standard_normal(shape, dtype=np.float32)
        rest = np.sqrt(1 - (loadings**2).sum(1))
        innovation: Array = factors @ loadings.T.astype(np.float32) + rest.astype(np.float32) * own
        return innovation

    def _filter(self, shock: Array) -> Array:
        """Run the autoregressions over `[scale + time, ...]`, the first entries being the start."""
        persistence, weight, covariance = self._kernel
        scales = len(weight)
        log_volatility = np.zeros((len(shock) - scales, *shock.shape[1:]), dtype=np.float32)
        if not scales:
            return log_volatility
        start = np.linalg.cholesky(covariance + 1e-12 * np.eye(scales))
        state = np.tensordot(start.astype(np.float32), shock[:scales], axes=1)
        keep = persistence.astype(np.float32)[:, None, None]
        push = weight.astype(np.float32)[:, None, None]
        for step, new in enumerate(shock[scales:]):
            state *= keep
            state += push * new
            state.sum(0, out=log_volatility[step])
        return log_volatility

    def _draw_jumps(self, shape: tuple[int, int, int], generator: np.random.Generator) -> Array:
        law, symbols = self._config.law, self._config.symbols
        jump = np.zeros(shape, dtype=np.float32)
        for share, width in ((symbols.shared_jumps, 1), (1 - symbols.shared_jumps, shape[2])):
            some = (*shape[:2], width)
            happens = generator.random(some, dtype=np.float32) < law.jump_probability * share
            size = law.jump_mean + law.jump_deviation * generator.standard_normal(
                some, dtype=np.float32
            )
            jump += np.where(happens, size, 0)
        return jump

    def _compose(self, regime: NDArray[np.int8], moves: _Moves) -> Array:
        """Return r, `[time, episode, symbol]`; see the class."""
        config, law = self._config, self._config.law
        volatility = np.asarray([one.volatility for one in REGIMES])[regime][..., None]
        drift = np.asarray([one.drift for one in REGIMES])[regime][..., None]
        step = volatility * config.volatility * np.asarray(config.symbols.volatility)
        step = step / math.sqrt(config.steps_per_year)
        growth = (drift + np.asarray(config.symbols.drift)) / config.steps_per_year
        if config.martingale:
            growth = np.zeros_like(growth)
        level = np.exp(moves.log_volatility - self._kernel[2].sum())
        scale = step * level * np.sqrt((1 - law.jump_variance) * moves.mixing)
        shares = (config.symbols.shared_jumps, 1 - config.symbols.shared_jumps)
        size = np.expm1(step * law.jump_mean + (step * law.jump_deviation) ** 2 / 2)
        fair = sum(np.log1p(law.jump_probability * share * size) for share in shares)
        composed: Array = (
            growth + scale * moves.innovation - scale**2 / 2 + step * moves.jump - fair
        )
        return composed

    def _draw_volume(self, moves: _Moves, generator: np.random.Generator) -> Array:
        law = self._config.volume
        noise = generator.standard_normal(moves.innovation.shape, dtype=np.float32)
        fresh = math.sqrt(1 - law.noise_persistence**2)
        for step in range(1, len(noise)):
            noise[step] = law.noise_persistence * noise[step - 1] + fresh * noise[step]
        answer, rise = law.volatility_response, law.move_response
        mean = (
            answer**2 * self._kernel[2].sum() + law.noise_deviation**2 + rise**2
        ) / 2 + math.log(1 + math.erf(rise / math.sqrt(2)))
        logarithm = (
            answer * moves.log_volatility
            + rise * np.abs(moves.innovation)
            + law.noise_deviation * noise
            - mean
        )
        volume: Array = law.mean * np.exp(logarithm)
        return volume
