"""A serial chain on paper: what is feasible, what is observed, what experts order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rl.domains.inventory import InventoryDomain, InventoryView, inv_management
from rl.domains.inventory_experts import base_stock, tune_base_stock
from utils.errors import ConfigError

CHAIN = inv_management(lost_sales=False)


def make_view(*, stock=(100, 100, 200), unmet=(0, 0, 0, 0), way=0.0):
    return InventoryView(
        stock=np.asarray([stock], np.float32),
        in_transit=np.full((1, 3, 10), way, np.float32),
        unmet=np.asarray([unmet], np.float32),
        recent_demand=np.asarray([[18, 19, 20, 21, 22]], np.float32),
        time_left=np.asarray([0.5], np.float32),
    )


@pytest.mark.parametrize(
    ("action", "stock", "unmet", "shipped"),
    [
        ((0.5, 0.5, 0.5), (100, 100, 200), (0, 0, 0, 0), (50, 45, 40)),
        ((2.0, 1.0, -1.0), (100, 100, 200), (0, 0, 0, 0), (100, 90, 0)),
        ((1.0, 1.0, 1.0), (100, 30, 7), (0, 0, 0, 0), (30, 7, 80)),
        ((0.0, 0.0, 0.9), (100, 100, 200), (50, 12, 0, 40), (12, 0, 80)),
        ((0.999, 0.0, 0.0), (100, 100, 200), (0, 0, 0, 0), (99, 0, 0)),
    ],
    ids=["half", "clipped", "short_shelf", "waiting_orders_first", "whole_units"],
)
def test_shipments_are_cut_to_capacity_and_shelf(action, stock, unmet, shipped):
    view = make_view(stock=stock, unmet=unmet)
    action = np.asarray([action], np.float32)
    assert InventoryDomain(CHAIN).project(action, view)[0].tolist() == list(shipped)


def test_units_may_be_split_where_the_chain_says_so():
    domain = InventoryDomain(replace(CHAIN, whole_units=False))
    shipped = domain.project(np.asarray([[0.125, 0.125, 0.125]], np.float32), make_view())
    assert shipped[0].tolist() == [12.5, 11.25, 10.0]


def test_every_whole_order_survives_the_way_through_a_share():
    domain = InventoryDomain(CHAIN)
    units = np.arange(81, dtype=np.float32)[:, None].repeat(3, axis=1)
    assert (domain.round_orders(domain.scale_orders(units / domain.capacity)) == units).all()


def test_observation_shows_every_number_in_its_place():
    view = make_view(stock=(10, 20, 30), unmet=(1, 2, 3, 4), way=5.0)
    observation = InventoryDomain(CHAIN).encode(view)[0]
    retailer, _, last, shared = np.split(observation, [16, 32, 48])
    way = [0.05] * 10
    assert retailer.tolist() == pytest.approx([*way, 0.1, 0.01, 0.02, 0.2, 1.0, 0.3])
    assert last.tolist() == pytest.approx([*way, 0.3, 0.03, 0.04, 0.8, 0.8, 1.0])
    assert shared.tolist() == pytest.approx([0.18, 0.19, 0.2, 0.21, 0.22, 0.5])


def test_numpy_and_torch_agree():
    view = make_view(stock=(10, 20, 30), unmet=(1, 2, 3, 4), way=5.0)
    tensors = InventoryView(
        **{name: torch.as_tensor(values) for name, values in vars(view).items()}
    )
    action = np.asarray([[0.3, 0.6, 0.9]], np.float32)
    ours = InventoryDomain(CHAIN)
    theirs = InventoryDomain(CHAIN, torch, lambda v: torch.as_tensor(v, dtype=torch.float32))
    np.testing.assert_allclose(ours.encode(view), theirs.encode(tensors).numpy(), atol=1e-6)
    shipped = theirs.project(torch.as_tensor(action), tensors)
    np.testing.assert_allclose(ours.project(action, view), shipped.numpy(), atol=1e-6)


def test_base_stock_orders_up_to_the_echelon_level():
    # Positions 100 - 5, 200 - 5, 400 - 5; the second stage wants 105 and may have 90.
    levels = np.asarray([110.0, 300.0, 390.0])
    action = base_stock(make_view(unmet=(5, 0, 0, 0)), CHAIN, levels)
    assert action[0].tolist() == pytest.approx([15 / 100, 1.0, 0.0])


def test_base_stock_never_asks_for_what_the_supplier_lacks():
    action = base_stock(make_view(stock=(0, 8, 200)), CHAIN, np.asarray([50.0, 0.0, 0.0]))
    assert action[0].tolist() == pytest.approx([8 / 100, 0.0, 0.0])


def test_base_stock_counts_its_own_waiting_orders():
    # 60 units wait at the second stage for the first: it asks for no more of them.
    action = base_stock(make_view(stock=(0, 8, 200), unmet=(0, 60, 0, 0)), CHAIN, np.full(3, 50.0))
    assert action[0, 0] == 0.0


def test_tuner_finds_the_top_between_the_points_of_its_grid():
    def score(levels):
        return -np.abs(levels - np.asarray([37.0, 0.0, 101.0])).sum(-1)

    best = tune_base_stock(score, num_stages=3, highest=128, spacing=32)
    assert best.tolist() == [37.0, 0.0, 101.0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("capacity", (100.0, -90.0, 80.0)),
        ("capacity", (100.0, 90.0)),
        ("lead_time", (3, -5, 10)),
        ("penalty", (0.1, 0.1, 0.1)),
        ("initial_stock", ()),
        ("holding_cost", (0.1, float("nan"), 0.1)),
        ("discount", 0.0),
        ("max_steps", 0),
    ],
)
def test_bad_chains_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        replace(CHAIN, **{field: value})
