"""Rules by which nodes offer, NumPy over any leading batch axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rl.domains.nodes import NodeView

Array = NDArray[np.float32]
NodeExpert = Callable[[NodeView, np.random.Generator], Array]


def offer_share(view: NodeView, generator: np.random.Generator, *, share: float) -> Array:
    """Let every node offer the same share of what it has free; all of it makes greedy best fit.

    Args:
        view: What is known, NumPy.
        generator: Not used.
        share: In [0, 1].
    """
    del generator
    return np.full(view.usage.shape, share, np.float32)


def offer_at_random(view: NodeView, generator: np.random.Generator) -> Array:
    """Draw every share anew from U(0, 1).

    Args:
        view: What is known, NumPy.
        generator: Of the shares.
    """
    share: Array = generator.random(view.usage.shape, np.float32)
    return share


def offer_least_used(view: NodeView, generator: np.random.Generator, *, count: int) -> Array:
    """Let only the least used nodes offer, and those offer all they have free.

    Args:
        view: What is known, NumPy.
        generator: Not used.
        count: How many nodes offer, by usage of the first resource (the published figures fit this,
            not the mean over resources); equal ones in order of position.
    """
    del generator
    order = view.usage[..., 0].argsort(axis=-1, kind="stable")
    action = np.zeros(view.usage.shape, np.float32)
    np.put_along_axis(action, order[..., :count, None], 1.0, axis=-2)
    return action


EXPERTS: dict[str, NodeExpert] = {
    "greedy": partial(offer_share, share=1.0),
    "half": partial(offer_share, share=0.5),
    "random": offer_at_random,
    "least_used_1": partial(offer_least_used, count=1),
    "least_used_2": partial(offer_least_used, count=2),
    "least_used_5": partial(offer_least_used, count=5),
}
