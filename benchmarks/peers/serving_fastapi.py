"""A policy behind FastAPI and uvicorn, as their pages show it.

Arguments: the port, the artifact, the database of records, and `standard` (uvloop and httptools, as
`uvicorn[standard]` brings them) or `plain`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from serving_policy import Decider

from ai_agents.allocation_schema import AllocationDecision, AllocationRequest

app = FastAPI()
decider = Decider(Path(sys.argv[2]), Path(sys.argv[3]))


@app.post("/decide")
async def decide(request: AllocationRequest) -> AllocationDecision:
    """Answer one request.

    Args:
        request: Checked by FastAPI.
    """
    return decider.decide(request)


@app.post("/decide_all")
async def decide_all(requests: list[AllocationRequest]) -> list[AllocationDecision]:
    """Answer several requests.

    Args:
        requests: Checked by FastAPI.
    """
    return [decider.decide(request) for request in requests]


if __name__ == "__main__":
    is_plain = sys.argv[4] == "plain"
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        access_log=False,
        log_level="warning",
        loop="asyncio" if is_plain else "uvloop",
        http="h11" if is_plain else "httptools",
    )
