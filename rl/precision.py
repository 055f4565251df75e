"""Weights in fewer bits: what a stored policy may be rounded to, and its weights on disk.

Rounded weights are exact in float32, in which policies run, so writing and reading a rounded policy
any number of times gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError

Array = NDArray[np.float32]
Precision = Literal["float32", "float16", "int8"]
MOST = 127
"""The largest of 8 bits; -128 stays unused, so that both signs are alike."""
SCALE_BITS = 16
"""Of a scale's mantissa: 127 times it then fits into the 24 bits of float32."""
SMALLEST = 1e-30
"""A channel without any larger weight is stored as zeros; its scale would leave float32."""


def round_weight(weight: Array, precision: Precision) -> Array:
    """Return the nearest weight that a precision can store.

    Args:
        weight: `[in, out]`, finite.
        precision: With int8, each output channel has a scale of its own and no offset.

    Raises:
        ConfigError: A weight is beyond what float16 holds.
    """
    if precision == "float32":
        return weight
    if precision == "float16":
        with np.errstate(over="ignore"):
            half = weight.astype(np.float16)
        if not np.isfinite(half).all():
            raise ConfigError("a weight is beyond 65504, which float16 cannot hold: choose int8")
        return half.astype(np.float32)
    scale = _scales(weight)
    return (_steps(weight, scale) * scale).astype(np.float32)


def pack_weight(name: str, weight: Array, precision: Precision) -> dict[str, NDArray[Any]]:
    """Return the arrays to store for a weight that `round_weight` returned.

    Args:
        name: Of the weight; its scales, if any, are called after it.
        weight: `[in, out]`.
        precision: Of the policy.
    """
    if precision == "float32":
        return {name: weight}
    if precision == "float16":
        return {name: weight.astype(np.float16)}
    scale = _scales(weight)
    return {name: _steps(weight, scale).astype(np.int8), f"{name}_scale": scale}


def unpack_weight(name: str, arrays: Mapping[str, NDArray[Any]], precision: Precision) -> Array:
    """Return a weight as float32.

    Args:
        name: As it was packed.
        arrays: What was stored.
        precision: Of the policy.

    Raises:
        ValueError: The arrays are of another precision.
    """
    stored = arrays[name]
    if stored.dtype != np.dtype(precision):
        raise ValueError(f"{name} holds {stored.dtype}, not {precision}")
    if precision == "int8":
        scale = arrays[f"{name}_scale"]
        if scale.dtype != np.float32 or scale.shape != stored.shape[1:]:
            raise ValueError(f"{name} needs one float32 scale for each of its outputs")
        stored = stored * scale
    whole: Array = stored.astype(np.float32)
    return whole


def _scales(weight: Array) -> Array:
    """Return `[out]`: the least step, of few bits, by which 127 steps reach the largest weight."""
    largest = np.abs(weight).max(0).astype(np.float64)
    mantissa, exponent = np.frexp(largest / MOST)
    whole = np.ceil(np.ldexp(mantissa, SCALE_BITS))
    scale = np.ldexp(whole, exponent - SCALE_BITS)
    return np.where(largest < SMALLEST, 0.0, scale).astype(np.float32)


def _steps(weight: Array, scale: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.rint(weight.astype(np.float64) / scale)
    return np.where(scale > 0, steps, 0.0).astype(np.float32)
