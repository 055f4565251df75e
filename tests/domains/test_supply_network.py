"""Networks as data: what is refused, who is served first, forecasts and rules by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rl.domains.array_tools import ArrayTools
from rl.domains.supply_chain import Goodwill, SupplyConfig
from rl.domains.supply_experts import SupplyExperts
from rl.domains.supply_forecasts import ForecastConfig, forecast_demand, smooth
from rl.domains.supply_network import (
    Component,
    Link,
    Market,
    Network,
    Node,
    NodeType,
    Product,
    Recipe,
    Shelf,
)
from rl.domains.supply_presets import multi_echelon, serial
from rl.domains.supply_rationing import Pool, Rationing
from utils.errors import ConfigError

SERIAL = serial().config.network
PARTS = (Product(name="bolt"), Product(name="frame"), Product(name="bike"))


def workshop(recipes, shelves=("bolt", "frame", "bike")):
    return Network(
        products=PARTS,
        nodes=(
            Node(name="mine", type=NodeType.SUPPLIER),
            Node(name="shop", type=NodeType.MANUFACTURER),
            Node(name="street", type=NodeType.CUSTOMER),
        ),
        shelves=tuple(Shelf(node="shop", product=product) for product in shelves),
        links=(Link(supplier="mine", buyer="shop", product="bolt"),),
        markets=(Market(retailer="shop", customer="street", product="bike", price=1.0),),
        recipes=recipes,
    )


def made(product, *components):
    parts = tuple(Component(product=name) for name in components)
    return Recipe(node="shop", product=product, components=parts)


REFUSED = {
    "cyclic": (
        lambda: workshop((made("frame", "bike", "bolt"), made("bike", "frame"))),
        "bill of materials is cyclic: bike, frame",
    ),
    "made from itself": (lambda: workshop((made("bike", "bike"),)), "cyclic: bike"),
    "unreachable shelf": (
        lambda: workshop((made("bike", "bolt"),)),
        "shelf 'shop' of 'frame' is unreachable",
    ),
    "unreachable node": (
        lambda: replace(SERIAL, nodes=(*SERIAL.nodes, Node(name="9", type=NodeType.RETAILER))),
        "node '9' is unreachable",
    ),
    "unknown node": (
        lambda: replace(SERIAL, links=(replace(SERIAL.links[0], supplier="x"),)),
        "unknown node 'x'; known: 0, 1, 2, 3, 4",
    ),
    "unknown product": (
        lambda: replace(SERIAL, links=(replace(SERIAL.links[0], product="x"),)),
        "unknown product 'x'",
    ),
    "repeated link": (
        lambda: replace(SERIAL, links=(*SERIAL.links, SERIAL.links[0])),
        "link .* is there twice",
    ),
    "no shelf": (
        lambda: workshop((made("frame", "bolt"), made("bike", "frame")), ("bolt", "bike")),
        "no shelf for 'frame'; add Shelf",
    ),
    "negative capacity": (
        lambda: Node(name="a", type=NodeType.SUPPLIER, capacity=-1.0),
        "capacity of node 'a' must be finite and not negative, not -1.0",
    ),
    "nan price": (
        lambda: Link(supplier="a", buyer="b", product="c", price=float("nan")),
        "price of link",
    ),
    "lead time": (
        lambda: Link(supplier="a", buyer="b", product="c", lead_time=-1),
        "lead_time of link",
    ),
    "yield": (
        lambda: Node(name="a", type=NodeType.MANUFACTURER, output_yield=0.0),
        r"output_yield of node 'a' must lie in \(0, 1\]",
    ),
    "nothing to sell": (lambda: replace(SERIAL, markets=()), "at least one shelf"),
    "goodwill": (lambda: Goodwill(floor=2.0), "0 < floor <= 1 <= cap"),
    "delay": (lambda: SupplyConfig(network=SERIAL, max_delay=2), "needs disruptions=True"),
    "family": (lambda: serial("lunar"), "unknown demand family 'lunar'"),
    "horizon": (
        lambda: SupplyExperts(replace(serial().config, known_horizon=4), informed=True),
        "raise known_horizon",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_networks_are_refused_by_one_clear_error(name):
    make, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        make()


def test_requests_are_served_in_order_until_something_is_used_up():
    pools = [
        Pool(requests=(0, 2), needs=[(0, 1.0)]),
        Pool(requests=(1,), needs=[(1, 2.0), (0, 1.0)]),
        Pool(requests=(3,), needs=[]),
    ]
    rationing = Rationing(pools, 4, 2, ArrayTools())
    requests = np.array([[4.0, 5.0, 3.0, 70.0], [9.0, 5.0, 3.0, 0.0], [1.0, 9.0, 1.0, 1.0]])
    resources = np.array([[9.0, 8.0], [10.0, 8.0], [20.0, 3.0]])
    served = rationing.serve(requests, resources, 1e9)
    np.testing.assert_allclose(
        served, [[4.0, 2.0, 3.0, 70.0], [9.0, 0.0, 1.0, 0.0], [1.0, 1.5, 1.0, 1.0]]
    )
    np.testing.assert_allclose(rationing.used(served), [[9.0, 4.0], [10.0, 0.0], [3.5, 3.0]])


def test_forecasts_by_hand():
    config = ForecastConfig(window=2, season=3, smoothing=0.5)
    level, history = np.zeros(1), np.zeros((3, 1))
    wanted = [(0, 0, 0), (8, 8, 8), (6, 4, 6), (5, 8, 6), (8, 4, 8)]
    for step, expected in enumerate(wanted):
        seen = forecast_demand(history, level, np.array([float(step)]), config=config, xp=np)
        np.testing.assert_allclose(seen[:, 0], expected)
        value = np.array([(8.0, 4.0, 6.0, 10.0, 0.0)[step]])
        level = smooth(level, value, is_first=step == 0, config=config)
        history = np.concatenate([history[1:], value[None]])


def test_every_node_sees_its_own_columns_and_markets_if_they_are_shared():
    from rl.domains.supply_chain import SupplyDomain
    from rl.domains.supply_observation import SupplyObserver

    plain = replace(multi_echelon().config, known_horizon=0)
    own, shared = (
        SupplyObserver(SupplyDomain(replace(plain, share_demand=share))).agent_sizes()
        for share in (False, True)
    )
    signals = plain.forecasts.window + 3
    assert own[0] == shared[0]
    assert [b - a for a, b in zip(own[1:], shared[1:], strict=True)] == [signals] * 5
