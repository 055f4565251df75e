"""From a policy artifact to an ONNX model, for programs that are not ours. Needs `onnx`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from rl.artifacts import PolicyArtifact
from utils.config import to_json
from utils.errors import ConfigError

OPSET, IR_VERSION = 17, 8
"""Of 2022, so that older runtimes read it, too."""
OBSERVATION, ACTION, OUTPUT = "observation", "action", "output"
ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu"}


def export_onnx(artifact: PolicyArtifact) -> bytes:
    """Write a policy as an ONNX model with its normaliser and the limits of its action inside.

    Input `observation` `[batch, obs]`. Outputs: `action`, as `PolicyRuntime.act` gives it, `[batch,
    act]` or the choice `[batch]`; and `output`, the last layer's, which must be finite for the
    action to be trusted. The metadata hold the artifact's address, domain and card.

    Args:
        artifact: The policy.

    Raises:
        ConfigError: The package onnx is not installed.
    """
    onnx = _import_onnx()
    graph = _Graph(onnx)
    graph.declare(artifact)
    name = _normalise(graph, artifact)
    for index, (weight, bias) in enumerate(artifact.layers):
        is_last = index == len(artifact.layers) - 1
        result = OUTPUT if is_last else f"layer_{index}"
        arguments = (f"{result}_weight", weight), (f"{result}_bias", bias)
        name = graph.add("Gemm", name, *arguments, result=result)
        if not is_last:
            name = _activate(graph, artifact.activation, name, index)
    _choose(graph, artifact, name)
    model = onnx.helper.make_model(
        graph.build(artifact.card.agent),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="quartermaster",
        doc_string=f"{artifact.card.agent}: a policy for {artifact.domain}",
    )
    about = {
        "artifact_sha256": artifact.sha256,
        "domain": artifact.domain,
        "domain_config": artifact.domain_config,
        "card": json.dumps(to_json(artifact.card), sort_keys=True),
    }
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _activate(graph: _Graph, activation: str, name: str, index: int) -> str:
    result = f"hidden_{index}"
    if activation == "silu":
        gate = graph.add("Sigmoid", name, result=f"gate_{index}")
        return graph.join("Mul", name, gate, result=result)
    return graph.add(ACTIVATIONS[activation], name, result=result)


class _Graph:
    """Collects nodes, and constants beside them."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def declare(self, artifact: PolicyArtifact) -> None:
        """Say what goes in and comes out."""
        kinds, value = self._onnx.TensorProto, self._onnx.helper.make_tensor_value_info
        self._inputs = [value(OBSERVATION, kinds.FLOAT, ["batch", artifact.observation_size])]
        size = artifact.action.size
        action = (
            value(ACTION, kinds.INT64, ["batch"])
            if artifact.action.kind == "discrete"
            else value(ACTION, kinds.FLOAT, ["batch", size])
        )
        self._outputs = [action, value(OUTPUT, kinds.FLOAT, ["batch", size])]

    def add(
        self,
        operator: str,
        value: str,
        *constants: tuple[str, Any],
        result: str,
        settings: Mapping[str, int] | None = None,
    ) -> str:
        """Add a node; returns the name of its result."""
        for name, array in constants:
            content = np.asarray(array, np.float32)
            self._constants.append(self._onnx.numpy_helper.from_array(content, name))
        names = [value, *(name for name, _ in constants)]
        self._nodes.append(
            self._onnx.helper.make_node(operator, names, [result], **(settings or {}))
        )
        return result

    def join(self, operator: str, first: str, second: str, *, result: str) -> str:
        """Add a node of two values; returns the name of its result."""
        self._nodes.append(self._onnx.helper.make_node(operator, [first, second], [result]))
        return result

    def build(self, name: str) -> Any:
        """Return the graph."""
        return self._onnx.helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, self._constants
        )


def _normalise(graph: _Graph, artifact: PolicyArtifact) -> str:
    mean, std, clip = artifact.normalizer
    scale = (1.0 / std).astype(np.float32)
    name = graph.add("Sub", OBSERVATION, ("mean", mean), result="centred")
    name = graph.add("Mul", name, ("scale", scale), result="scaled")
    return _clip(graph, name, (-clip, clip), result="normalised")


def _choose(graph: _Graph, artifact: PolicyArtifact, name: str) -> None:
    action = artifact.action
    if action.kind == "discrete":
        graph.add("ArgMax", name, result=ACTION, settings={"axis": -1, "keepdims": 0})
        return
    if action.kind == "squashed":
        half, centre = 0.5 * (action.high - action.low), 0.5 * (action.high + action.low)
        name = graph.add("Tanh", name, result="squashed")
        name = graph.add("Mul", name, ("half", half), result="stretched")
        name = graph.add("Add", name, ("centre", centre), result="moved")
    _clip(graph, name, (action.low, action.high), result=ACTION)


def _clip(graph: _Graph, name: str, limits: tuple[float, float], *, result: str) -> str:
    largest = float(np.finfo(np.float32).max)
    low, high = max(limits[0], -largest), min(limits[1], largest)
    return graph.add("Clip", name, (f"{result}_low", low), (f"{result}_high", high), result=result)


def _import_onnx() -> Any:
    try:
        for module in ("checker", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{module}")
        return importlib.import_module("onnx")
    except ImportError as error:
        raise ConfigError(
            f"onnx cannot be imported ({error}): pip install -r requirements-onnx.txt"
        ) from error
