"""The peer of the market's speed benchmark still plays the world that the core plays."""

from __future__ import annotations

import pytest

from benchmarks import plain_services


def test_the_plain_loop_earns_sees_and_emits_the_same():
    assert plain_services.check_plain(0) < 1e-2


def test_a_peer_that_sells_at_other_prices_is_noticed(monkeypatch):
    def give_away(self, actions):
        for name in self.names:
            self.held[name] = [0.0 for _ in self.resources]

    monkeypatch.setattr(plain_services.PlainServices, "sell", give_away)
    with pytest.raises(SystemExit, match="no peer"):
        plain_services.check_plain(0)
