"""Seeds that derive from (run seed, stream name, counter), so that streams never share draws."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(run_seed: int, stream: str, counter: int = 0) -> int:
    """Derive an independent 63-bit seed.

    Args:
        run_seed: The seed of the run.
        stream: What the draws are for, such as `"bank/train"`.
        counter: Which use of the stream, for example the number of refreshes.

    Returns:
        A seed in [0, 2**63).
    """
    digest = hashlib.blake2b(f"{run_seed}/{stream}/{counter}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(run_seed: int, stream: str, counter: int = 0) -> np.random.Generator:
    """Return a NumPy generator seeded with `derive_seed`.

    Args:
        run_seed: The seed of the run.
        stream: What the draws are for.
        counter: Which use of the stream.
    """
    return np.random.default_rng(derive_seed(run_seed, stream, counter))
