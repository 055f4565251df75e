"""A Ray cluster of our own on this machine, with a token, for tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="ray is not installed (pip install -r requirements-ray.txt)",
)


@contextlib.contextmanager
def run_cluster(**head):
    """Start the head node; give the cluster.

    Ray reads how to authenticate when it is imported, hence for the whole process.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # nodes find the program by it
        cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **head})
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
