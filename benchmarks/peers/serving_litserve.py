# ruff: noqa: I002
"""A policy behind LitServe, one worker. Arguments: the port, the artifact, the records.

LitServe makes its route from the annotations, which therefore must be types, not text.
"""

import sys
from pathlib import Path
from typing import Any

import litserve
from serving_policy import Decider

from ai_agents.allocation_schema import AllocationDecision, AllocationRequest


class PolicyApi(litserve.LitAPI):
    """The steps of an answer, as LitServe wants them."""

    def setup(self, device: str) -> None:
        """Load the policy.

        Args:
            device: Not looked at.
        """
        del device
        self.decider = Decider(Path(sys.argv[2]), Path(sys.argv[3]))

    def decode_request(self, request: AllocationRequest) -> AllocationRequest:
        """Take a request.

        Args:
            request: Checked by LitServe.
        """
        return request

    def predict(self, request: AllocationRequest) -> AllocationDecision:
        """Answer.

        Args:
            request: Checked.
        """
        return self.decider.decide(request)

    def encode_response(self, decision: AllocationDecision) -> dict[str, Any]:
        """Write the answer.

        Args:
            decision: The answer.
        """
        return decision.model_dump(mode="json")


if __name__ == "__main__":
    server = litserve.LitServer(PolicyApi(api_path="/decide"), accelerator="cpu")
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
