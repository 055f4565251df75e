"""What leaves training: a policy's arrays with its card, as one blob addressed by its sha256.

NumPy and safetensors only, so that reading an artifact never needs torch and never runs code.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rl.precision import Precision, pack_weight, round_weight, unpack_weight
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.persistence.errors import ArtifactCorruptError

Array = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
SCHEMA_VERSION = 1
REDUCED_SCHEMA_VERSION = 2
"""Of policies whose weights are stored in fewer bits, which older programs cannot read."""
METADATA_KEY = "quartermaster_policy"
"""One key only: safetensors writes several in random order, and the address must not be random."""


BROKEN = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading bytes that are no artifact may raise."""


class Layer(NamedTuple):
    """A dense layer: `input @ weight + bias`."""

    weight: Array
    """`[in, out]`."""
    bias: Array
    """`[out]`."""


class Normalizer(NamedTuple):
    """The first layer takes `clip((observation - mean) / std, -clip, clip)`."""

    mean: Array
    std: Array
    clip: float


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """What the last layer's output means."""

    kind: Literal["continuous", "squashed", "discrete"]
    """The action itself, to be clipped; what a tanh is to stretch over the range; or one logit per
    choice."""
    size: int
    low: float = 0.0
    high: float = 1.0
    meaning: str = ""
    """What the domain makes of the numbers, in its own words, if it knows several ways."""

    def __post_init__(self) -> None:
        """Refuse an empty action."""
        if self.size < 1 or self.low >= self.high:
            raise ConfigError(f"an action needs size >= 1 and low < high, not {self}")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A named number."""

    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class ValidRange:
    """Between which values of a request field the policy was trained and evaluated."""

    field: str
    """In the words of a request, such as `services.search.recent_demand`."""
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the policy did on scenarios it never saw."""

    scenarios: str
    num_episodes: int
    kpi: float
    """Mean over the episodes."""
    kpi_low: float
    """Lower end of its 95 % interval."""
    kpi_high: float
    """Upper end of its 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The best tuned expert: what the policy is measured against and what stands in for it."""

    expert: str
    """Its name among the experts of the domain."""
    parameters: tuple[Figure, ...]
    """What it was tuned to; parameters not named keep their defaults."""
    kpi: float
    """Mean over the same episodes."""


@dataclass(frozen=True, kw_only=True)
class PolicyCard:
    """Where a policy comes from, how good it is and where it may be trusted."""

    agent: str
    """Name of the business agent it is for."""
    run_id: str
    checkpoint_sha256: str
    commit: str
    """Of the code that trained it."""
    data: str
    """What it was trained on, in a sentence."""
    evaluation: Evaluation
    baseline: Baseline
    validated_for: tuple[ValidRange, ...]
    limits: tuple[str, ...]
    """What it must not be used for, or what is not known of it; a sentence each."""
    created_at: str
    """ISO 8601, in UTC."""
    bound: float | None = None
    """The best KPI that hindsight allows on the same episodes, if it was computed."""

    @property
    def gap_closed_fraction(self) -> float | None:
        """Share of the gap between the baseline and the bound that the policy closes."""
        if self.bound is None or self.bound <= self.baseline.kpi:
            return None
        return (self.evaluation.kpi - self.baseline.kpi) / (self.bound - self.baseline.kpi)


@dataclass(frozen=True, kw_only=True, eq=False)
class PolicyArtifact:
    """A deterministic policy and all that is needed to run and judge it."""

    layers: tuple[Layer, ...]
    activation: Literal["tanh", "relu", "silu"]
    """After every layer but the last."""
    normalizer: Normalizer
    action: ActionSpec
    domain: str
    """Whose observations and actions these are, such as `resource_allocation`."""
    domain_config: str
    """Its config, as JSON text."""
    card: PolicyCard
    precision: Precision = "float32"
    """How weights are stored; all arrays here are float32, in which the policy runs."""

    def __post_init__(self) -> None:
        """Check that the arrays fit one another and hold numbers.

        Raises:
            ConfigError: They do not.
        """
        if not self.layers:
            raise ConfigError("a policy needs at least one layer")
        sizes = [layer.weight.shape for layer in self.layers]
        for index, (weight, bias) in enumerate(self.layers):
            if weight.ndim != 2 or bias.shape != weight.shape[1:]:
                raise ConfigError(f"layer {index}: weight {weight.shape}, bias {bias.shape}")
        if any(before[1] != after[0] for before, after in itertools.pairwise(sizes)):
            raise ConfigError(f"layers do not fit one another: {sizes}")
        if sizes[-1][1] != self.action.size:
            raise ConfigError(f"the last layer gives {sizes[-1][1]} numbers, not {self.action}")
        mean, std, clip = self.normalizer
        if not mean.shape == std.shape == (self.observation_size,):
            raise ConfigError(f"the normaliser does not fit {self.observation_size} observations")
        for name, values in _named_arrays(self).items():
            if values.dtype != np.float32 or not np.isfinite(values).all():
                raise ConfigError(f"{name} must hold finite float32 numbers")
        if std.min() <= 0 or not clip > 0:
            raise ConfigError("the normaliser needs std > 0 and clip > 0")
        _check_precision(self)

    @property
    def observation_size(self) -> int:
        """Numbers in an observation."""
        return int(self.layers[0].weight.shape[0])

    @cached_property
    def sha256(self) -> str:
        """The address of `to_bytes()`, in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the one blob; equal policies give equal bytes."""
        arrays = _stored_arrays(self)
        is_reduced = self.precision != "float32"
        document = json.dumps(
            {
                "schema_version": REDUCED_SCHEMA_VERSION if is_reduced else SCHEMA_VERSION,
                **({"precision": self.precision} if is_reduced else {}),
                "num_layers": len(self.layers),
                "activation": self.activation,
                "clip": self.normalizer.clip,
                "action": to_json(self.action),
                "domain": self.domain,
                "domain_config": self.domain_config,
                "card": to_json(self.card),
            },
            sort_keys=True,
        )
        seal = {"document": document, "digest": _digest(document, arrays)}
        return bytes(save(arrays, metadata={METADATA_KEY: json.dumps(seal, sort_keys=True)}))

    @classmethod
    def from_bytes(cls, content: bytes) -> PolicyArtifact:
        """Read a blob and prove that it is whole.

        Args:
            content: What `to_bytes` returned.

        Raises:
            ArtifactCorruptError: It is cut or altered, or of another schema version.
        """
        try:
            arrays = load(content)
            document = _open_seal(content, arrays)
            return _build(document, arrays)
        except BROKEN as error:
            raise ArtifactCorruptError(
                f"not a whole policy artifact ({error}): fetch it again from the artifact store, "
                "or export the checkpoint again"
            ) from error

    def with_card(self, card: PolicyCard) -> PolicyArtifact:
        """Return the same policy under another card.

        Args:
            card: The new card.
        """
        return replace(self, card=card)

    def with_precision(self, precision: Precision) -> PolicyArtifact:
        """Return the policy with its weights rounded, to be stored in fewer bits.

        Args:
            precision: float16, or int8 with a scale per output channel; biases and normaliser
                stay as they are.

        Raises:
            ConfigError: A weight is beyond what the precision holds.
        """
        layers = tuple(Layer(round_weight(w, precision), bias) for w, bias in self.layers)
        return replace(self, layers=layers, precision=precision)


def _check_precision(artifact: PolicyArtifact) -> None:
    if any((round_weight(w, artifact.precision) != w).any() for w, _ in artifact.layers):
        raise ConfigError(
            f"weights are no {artifact.precision} numbers: round them first, see with_precision"
        )


def _named_arrays(artifact: PolicyArtifact) -> dict[str, Array]:
    named = {"normalizer.mean": artifact.normalizer.mean, "normalizer.std": artifact.normalizer.std}
    for index, (weight, bias) in enumerate(artifact.layers):
        named |= {f"layers.{index}.weight": weight, f"layers.{index}.bias": bias}
    return {name: np.ascontiguousarray(values) for name, values in named.items()}


def _stored_arrays(artifact: PolicyArtifact) -> Arrays:
    stored: Arrays = {}
    for name, values in _named_arrays(artifact).items():
        is_weight = name.endswith(".weight")
        stored |= pack_weight(name, values, artifact.precision) if is_weight else {name: values}
    return stored


def _digest(document: str, arrays: Arrays) -> str:
    digest = hashlib.sha256(document.encode())
    for name, values in sorted(arrays.items()):
        digest.update(f"{name}{values.dtype}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _open_seal(content: bytes, arrays: Arrays) -> dict[str, Any]:
    header_size = int.from_bytes(content[:8], "little")
    seal = json.loads(json.loads(content[8 : 8 + header_size])["__metadata__"][METADATA_KEY])
    document: dict[str, Any] = json.loads(seal["document"])
    version = document["schema_version"]
    is_reduced = document.get("precision", "float32") != "float32"
    if version != (REDUCED_SCHEMA_VERSION if is_reduced else SCHEMA_VERSION):
        raise ArtifactCorruptError(
            f"policy artifact of schema version {version!r}, this program reads "
            f"{SCHEMA_VERSION} and, with fewer bits, {REDUCED_SCHEMA_VERSION}: "
            "export the checkpoint again, or serve it with the version that wrote it"
        )
    if _digest(seal["document"], arrays) != seal["digest"]:
        raise ValueError("its digest does not match its content")
    return document


def _build(document: dict[str, Any], arrays: Arrays) -> PolicyArtifact:
    precision = document.get("precision", "float32")
    layers = tuple(
        Layer(
            unpack_weight(f"layers.{index}.weight", arrays, precision),
            arrays[f"layers.{index}.bias"],
        )
        for index in range(document["num_layers"])
    )
    return PolicyArtifact(
        layers=layers,
        activation=document["activation"],
        normalizer=Normalizer(
            arrays["normalizer.mean"], arrays["normalizer.std"], document["clip"]
        ),
        action=from_json(ActionSpec, document["action"]),
        domain=document["domain"],
        domain_config=document["domain_config"],
        card=from_json(PolicyCard, document["card"]),
        precision=precision,
    )
