"""A policy behind Ray Serve, one replica. Arguments: the port, the artifact, the records."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import ray
from ray import serve
from serving_policy import Decider

from ai_agents.allocation_schema import AllocationRequest


@serve.deployment(num_replicas=1, max_ongoing_requests=64, ray_actor_options={"num_cpus": 0})
class Policy:
    """The policy in a replica."""

    def __init__(self, artifact: str, records: str) -> None:
        """Load the policy.

        Args:
            artifact: Its path.
            records: Path of the database of records.
        """
        self._decider = Decider(Path(artifact), Path(records))

    async def __call__(self, request: Any) -> Any:
        """Answer one request.

        Args:
            request: Of HTTP.
        """
        checked = AllocationRequest.model_validate_json(await request.body())
        return self._decider.decide(checked).model_dump(mode="json")


if __name__ == "__main__":
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Policy.bind(sys.argv[2], sys.argv[3]), route_prefix="/decide")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
