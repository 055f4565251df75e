"""Goods on their way: packed by flow and step of receipt, one slot per step of its lead time."""

from __future__ import annotations

import torch
from torch import Tensor

from rl.domains.array_tools import ArrayTools
from rl.domains.supply_chain import SupplyDomain


class Transit:
    """Moves every shipment one step nearer; delays are given per flow at shipment."""

    def __init__(self, domain: SupplyDomain) -> None:
        """Prepare the indices.

        Args:
            domain: The network, on torch.
        """
        tools, flows = domain.tools, domain.index.flows
        self._tools: ArrayTools = tools
        num_flows, self._can_delay = len(flows), domain.config.max_delay > 0
        self.num_slots = len(domain.slots)
        slot = {key: number for number, key in enumerate(domain.slots)}
        fresh = self.num_slots
        lead = [flow.origin.lead_time for flow in flows]
        if not self._can_delay:
            arrivals = [slot.get((flow, 0), fresh + flow) for flow in range(num_flows)]
            shifted = [slot.get((flow, step + 1), fresh + flow) for flow, step in domain.slots]
        else:
            longest = domain.config.max_delay
            places = [(f, step) for f in range(num_flows) for step in range(lead[f] + longest + 1)]
            place = {key: number for number, key in enumerate(places)}
            arrivals = [place[flow, 0] for flow in range(num_flows)]
            shifted = [place[flow, step + 1] for flow, step in domain.slots]
            self._flow = tools.as_index([flow for flow, _ in places])
            self._wait = tools.as_array([step - lead[flow] for flow, step in places])
            held = [slot.get(key, self.num_slots) for key in places]
            self._held = tools.as_index(held)
        self._arrivals, self._shifted = tools.as_index(arrivals), tools.as_index(shifted)

    def move(self, in_transit: Tensor, shipped: Tensor, delay: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step.

        Args:
            in_transit: `[env, slot]`.
            shipped: `[env, flow]`: sets out in this step.
            delay: `[env, flow]`: whole steps; not looked at in a world without delays.

        Returns:
            What is received in this step, `[env, flow]`, and what is on the way after it.
        """
        take = self._tools.take
        if self._can_delay:
            sets_out = take(delay, self._flow) == self._wait
            everything = take(self._tools.pad(in_transit), self._held)
            everything = everything + take(shipped, self._flow) * sets_out
        else:
            everything = torch.cat([in_transit, shipped], -1)
        return take(everything, self._arrivals), take(everything, self._shifted)
