"""Rules on twenty real shares, through the environment, against the published table."""

from __future__ import annotations

import pytest

from benchmarks.portfolio import PUBLISHED, make_window, play
from data.price_traces import load_stocks
from data.traces import TRACES_SETTING, locate_traces
from rl.domains.portfolio_experts import EXPERTS
from rl.evaluation.portfolio_scores import compute_scores

folder = locate_traces()


@pytest.mark.skipif(folder is None, reason=f"no real traces; set {TRACES_SETTING}")
@pytest.mark.parametrize("name", ["buy_and_hold", "equal", "inverse_volatility", "risk_parity"])
def test_published_rows_are_reproduced(name):
    config, bank = make_window(load_stocks(folder))
    scores = compute_scores(play(config, bank, EXPERTS[name])["log_growth"])
    annual_return, volatility, sharpe_ratio, max_drawdown = PUBLISHED[name]
    assert scores.annual_return == pytest.approx(annual_return, abs=0.001)
    assert scores.volatility == pytest.approx(volatility, abs=0.001)
    assert scores.sharpe_ratio == pytest.approx(sharpe_ratio, abs=0.01)
    assert scores.max_drawdown == pytest.approx(max_drawdown, abs=0.001)
