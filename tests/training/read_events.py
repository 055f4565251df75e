"""Prints what the tensorboard package reads of a folder of event files, as JSON.

Run by hand, with a Python that has tensorboard (no requirement names it):

    python -m venv /tmp/peers/tensorboard && /tmp/peers/tensorboard/bin/pip install tensorboard
    /tmp/peers/tensorboard/bin/python tests/training/read_events.py FOLDER
"""

from __future__ import annotations

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util


def main() -> None:
    """Print scalars and texts by tag, as steps and values."""
    accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    found = {
        tag: [[one.step, one.value] for one in accumulator.Scalars(tag)] for tag in tags["scalars"]
    }
    for tag in tags["tensors"]:
        rows = accumulator.Tensors(tag)
        texts = [tensor_util.make_ndarray(one.tensor_proto)[0].decode() for one in rows]
        found[tag] = [[one.step, text] for one, text in zip(rows, texts, strict=True)]
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
