"""Every domain that leaves training has an agent, and is loaded only when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ai_agents.decision_domain import DecisionDomain
from ai_agents.domains import DOMAINS
from rl.deployment.execution_exporter import EXECUTION
from rl.deployment.exporters import RESOURCE_ALLOCATION
from rl.deployment.inventory_exporter import SERIAL_INVENTORY
from rl.deployment.placement_exporter import CLUSTER_PLACEMENT
from rl.deployment.planner_exporter import NETWORK_PLANNER
from rl.deployment.portfolio_exporter import PORTFOLIO
from rl.deployment.supply_exporter import SUPPLY_CHAIN
from rl.deployment.trading_exporter import ORDER_DESKS
from rl.domains.view_worlds import VIEW_WORLDS


def test_every_exporter_has_a_domain():
    exported = {EXECUTION, RESOURCE_ALLOCATION, SERIAL_INVENTORY, CLUSTER_PLACEMENT, PORTFOLIO}
    planners = {SUPPLY_CHAIN, NETWORK_PLANNER, ORDER_DESKS}
    assert set(DOMAINS) == exported | planners | set(VIEW_WORLDS)
    assert len(DOMAINS) == len(list(DOMAINS))


@pytest.mark.parametrize("name", DOMAINS)
def test_each_can_be_loaded(name):
    assert isinstance(DOMAINS[name], type)
    assert issubclass(DOMAINS[name], DecisionDomain)


def test_an_unknown_domain_is_none():
    assert "tea_leaves" not in DOMAINS
    with pytest.raises(KeyError):
        DOMAINS["tea_leaves"]


def test_knowing_a_domain_does_not_load_it():
    code = (
        "import sys; from ai_agents.domains import DOMAINS; assert 'portfolio' in DOMAINS; "
        "assert 'ai_agents.portfolio_domain' not in sys.modules; DOMAINS['portfolio']; "
        "assert 'ai_agents.portfolio_domain' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
