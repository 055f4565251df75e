"""Sets of scenarios as bytes, to be stored and found by their hash."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from data.scenario import ScenarioArrays
from rl.evaluation.contest import ScenarioSet
from utils.errors import ConfigError
from utils.persistence.errors import ArtifactCorruptError

METADATA_KEY = "quartermaster_scenarios"
BLOCKS = "__blocks__"


def pack_scenarios(episodes: ScenarioSet) -> bytes:
    """Return a set as one blob; equal sets give equal bytes.

    Args:
        episodes: The set.
    """
    arrays = {
        field.name: np.ascontiguousarray(getattr(episodes.scenarios, field.name))
        for field in fields(episodes.scenarios)
    }
    about = {
        "kind": type(episodes.scenarios).__name__,
        "name": episodes.name,
        "about": episodes.about,
        "block_name": episodes.block_name,
    }
    arrays[BLOCKS] = np.asarray(episodes.blocks, np.int64)
    return bytes(save(arrays, metadata={METADATA_KEY: json.dumps(about, sort_keys=True)}))


def unpack_scenarios(content: bytes, like: ScenarioArrays) -> ScenarioSet:
    """Read a set.

    Args:
        content: What `pack_scenarios` returned.
        like: Any scenarios of the world that is going to be played.

    Raises:
        ArtifactCorruptError: It is no whole set.
        ConfigError: It is of another kind of world.
    """
    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])["__metadata__"]
        about = json.loads(header[METADATA_KEY])
        kind = about["kind"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactCorruptError(
            f"not a whole set of scenarios ({error}): make it again with a `generate` step"
        ) from error
    names = {field.name for field in fields(like)}
    if kind != type(like).__name__ or names != set(arrays) - {BLOCKS}:
        raise ConfigError(
            f"scenarios of kind {kind}, but this problem plays {type(like).__name__}: "
            "generate them for the same environment"
        )
    return ScenarioSet(
        name=about["name"],
        about=about["about"],
        scenarios=type(like)(**{name: arrays[name] for name in names}),
        blocks=arrays[BLOCKS].astype(np.intp),
        block_name=about["block_name"],
    )
