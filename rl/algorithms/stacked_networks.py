"""Perceptrons of equal shape evaluated together, with a backward pass written by hand.

On small layers most of the time of eager autograd goes into bookkeeping. Here one perceptron, or a
stack of them, is one node of the graph, or none: `trace` and `backward` do without a graph.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rl.algorithms.activation import Activation
from rl.algorithms.networks import HIDDEN_GAIN, PolicyLayers, pack_layers
from rl.algorithms.normalization import ObservationNormalizer
from rl.algorithms.stacked_products import affine, product, write_tanh

Init = Literal["orthogonal", "uniform"]
LAYER_NORM_EPS = 1e-5


class Trace(NamedTuple):
    """What a forward pass must keep for the backward one."""

    inputs: tuple[Float[Tensor, "*stack batch width"], ...]
    """Of each layer, first to last; a single network's have no stack axis."""
    output: Float[Tensor, "stack batch out"]
    norm: tuple[Tensor, Tensor, Tensor] | None
    """Layer norm's input, mean and inverse deviation; None without layer norm."""


class StackedMLP(nn.Module):
    """`stack` multilayer perceptrons of the same shape as one batched product per layer.

    Twin critics are a stack of 2, the policies of many agents one stack; a single network is a
    stack of 1. There is one parameter, `vector`, and `weights` and `biases` are views of it: one
    operation clips its gradient, steps the optimiser, or moves a target network.
    """

    weights: tuple[Float[Tensor, "stack inputs outputs"], ...]
    biases: tuple[Float[Tensor, "stack 1 outputs"], ...]

    def __init__(
        self,
        sizes: tuple[int, ...],
        *,
        stack: int = 1,
        activation: Activation = "relu",
        output_gain: float = 1.0,
        init: Init = "orthogonal",
        layer_norm: bool = False,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights; every member of the stack has its own.

        Args:
            sizes: Length of the input, of every hidden layer and of the output.
            stack: How many perceptrons.
            activation: After every layer but the last.
            output_gain: Scale of the last layer's weights.
            init: Orthogonal weights and zero biases, or both uniform within 1 / sqrt(inputs), which
                suits value networks that learn from replay.
            layer_norm: Normalise what the first layer computes, without scale or shift, before its
                activation. Needs a hidden layer.
            generator: Source of the initial weights, on the CPU.
        """
        super().__init__()
        self.sizes = sizes
        self.stack = stack
        self.activation: Activation = activation
        self.layer_norm = layer_norm and len(sizes) > 2
        total = sum(stack * (inputs + 1) * outputs for inputs, outputs in itertools.pairwise(sizes))
        self.vector = nn.Parameter(torch.zeros(total))
        self._make_views()
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            is_last = index == len(sizes) - 2
            for member in range(stack):
                if init == "orthogonal":
                    gain = output_gain if is_last else HIDDEN_GAIN
                    drawn = torch.empty(weight.shape[2], weight.shape[1])
                    nn.init.orthogonal_(drawn, gain, generator=generator)
                    weight[member] = drawn.T
                else:
                    bound = sizes[index] ** -0.5 * (output_gain if is_last else 1.0)
                    weight[member].uniform_(-bound, bound, generator=generator)
                    bias[member].uniform_(-bound, bound, generator=generator)

    def look_into(self, values: Float[Tensor, " size"], gradient: Float[Tensor, " size"]) -> None:
        """Keep the numbers in parts of larger vectors from now on, so that networks share one.

        Args:
            values: Where the weights go; they keep their values.
            gradient: Where `backward` writes.
        """
        values.copy_(self.vector.detach())
        self.vector.data = values
        self._make_views(gradient)

    def _make_views(self, gradient: Tensor | None = None) -> None:
        """Let the layers look into the vector, and their gradients into its gradient."""
        shapes = [
            (self.stack, rows, outputs)
            for inputs, outputs in itertools.pairwise(self.sizes)
            for rows in (inputs, 1)
        ]
        self._shapes = shapes
        self._grad = torch.zeros_like(self.vector.detach()) if gradient is None else gradient
        values = _split(self.vector.detach(), shapes)
        self._show(values[::2], values[1::2])
        self._gradients = self._plain(_split(self._grad, shapes))

    def _show(self, weights: Iterable[Tensor], biases: Iterable[Tensor]) -> None:
        self.weights, self.biases = tuple(weights), tuple(biases)
        self._layers = tuple(zip(self._plain(self.weights), self._plain(self.biases), strict=True))

    def _plain(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Drop the stack axis of a single network: plain products take less bookkeeping."""
        return tuple(part[0] for part in parts) if self.stack == 1 else parts

    def _apply(self, fn: Any, recurse: bool = True) -> StackedMLP:  # noqa: FBT001, FBT002
        """Move or convert the vector, into which the layers then look anew."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it so
        self._make_views()
        return self

    def copy(self) -> StackedMLP:
        """Return a network of its own with the same numbers, such as a target."""
        other = StackedMLP(
            self.sizes,
            stack=self.stack,
            activation=self.activation,
            layer_norm=self.layer_norm,
            generator=torch.Generator(),
        ).to(self.vector)
        other.vector.data.copy_(self.vector.data)
        return other

    def first_members(self, count: int) -> StackedMLP:
        """Return the first of the stack on the same memory, to be evaluated but not trained.

        Args:
            count: How many.
        """
        part = copy.copy(self)
        part.stack = count
        part._parameters = {"vector": nn.Parameter(self.vector.data, requires_grad=False)}  # noqa: SLF001
        part._show(*([layer[:count] for layer in kind] for kind in (self.weights, self.biases)))  # noqa: SLF001
        return part

    def __deepcopy__(self, memo: dict[int, Any]) -> StackedMLP:
        """Copy with views of its own; torch's way would leave the layers behind."""
        copied = memo[id(self)] = self.copy()
        memo[id(self.vector)] = copied.vector  # an optimiser copied with it steps the copy
        return copied

    def forward(self, x: Float[Tensor, "stack batch in"]) -> Float[Tensor, "stack batch out"]:
        """Evaluate every member on its own rows.

        Gradients reach only what needs them: with `requires_grad_(False)` on the network, or a
        constant input, the products that nobody asks for are not computed. First derivatives only.

        Args:
            x: One batch per member; `expand` shares one batch among all.
        """
        if not torch.is_grad_enabled():
            return self.trace(x).output
        output: Tensor = _Perceptrons.apply(  # type: ignore[no-untyped-call]  # torch leaves it so
            x, self.vector, self
        )
        return output

    def trace(self, x: Float[Tensor, "stack batch in"]) -> Trace:
        """Evaluate without a graph and keep what `backward` needs.

        Args:
            x: One batch per member.
        """
        single = self.stack == 1
        hidden = x[0].detach() if single else x.detach()
        of_layer = torch.addmm if single else affine
        inputs, norm = [hidden], None
        last = len(self._layers) - 1
        for index, (weight, bias) in enumerate(self._layers):
            hidden = of_layer(bias, hidden, weight)
            if index == last:
                break
            if index == 0 and self.layer_norm:
                raw, width = hidden, [hidden.shape[-1]]
                hidden, mean, rstd = torch.native_layer_norm(raw, width, None, None, LAYER_NORM_EPS)
                norm = (raw, mean, rstd)
            hidden = hidden.relu_() if self.activation == "relu" else write_tanh(hidden)
            inputs.append(hidden)
        return Trace(tuple(inputs), hidden.unsqueeze(0) if single else hidden, norm)

    def backward(
        self,
        trace: Trace,
        grad_output: Float[Tensor, "stack batch out"],
        *,
        need_input: bool = False,
        need_parameters: bool = True,
    ) -> Float[Tensor, "stack batch in"] | None:
        """Write the gradient of the parameters over `vector.grad`; return that of the input.

        Args:
            trace: Of the forward pass, with the parameters unchanged since.
            grad_output: Gradient of the loss at the output.
            need_input: Compute the gradient of the input; else the answer is None.
            need_parameters: Compute the gradient of the parameters; else `vector.grad` stays.
        """
        if need_parameters and self.vector.grad is not self._grad:
            self.vector.grad = self._grad
        gradients = self._gradients if need_parameters else None
        return self._backward(trace, grad_output, gradients, need_input=need_input)

    def _backward(
        self,
        trace: Trace,
        grad: Tensor,
        gradients: tuple[Tensor, ...] | None,
        *,
        need_input: bool,
    ) -> Tensor | None:
        """Go through the layers backwards, filling `gradients`, weight and bias by layer."""
        single = self.stack == 1
        multiply = torch.mm if single else product
        grad = grad[0] if single else grad
        for index in range(len(self._layers) - 1, -1, -1):
            inputs = trace.inputs[index]
            if gradients is not None:
                multiply(inputs.mT, grad, out=gradients[2 * index])
                torch.sum(grad, -2, keepdim=True, out=gradients[2 * index + 1])
            if index == 0 and not need_input:
                return None
            grad = multiply(grad, self._layers[index][0].mT)
            if index > 0:
                grad = (
                    torch.ops.aten.threshold_backward(grad, inputs, 0)
                    if self.activation == "relu"
                    else torch.ops.aten.tanh_backward(grad, inputs)
                )
            if index == 1 and trace.norm is not None:
                raw, mean, rstd = trace.norm
                grad = torch.ops.aten.native_layer_norm_backward(
                    grad, raw, [raw.shape[-1]], mean, rstd, None, None, [True, False, False]
                )[0]
        return grad.unsqueeze(0) if single else grad

    def export_layers(self, normalizer: ObservationNormalizer, member: int = 0) -> PolicyLayers:
        """Return copies of one member's numbers, for a runtime without torch.

        Args:
            normalizer: Of what it observes.
            member: Position in the stack.
        """
        layers = zip(self.weights, self.biases, strict=True)
        of_member = [(weight[member], bias[member, 0]) for weight, bias in layers]
        return pack_layers(of_member, self.activation, normalizer)


class _Perceptrons(torch.autograd.Function):
    """A whole stack as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, vector: Tensor, network: StackedMLP) -> Tensor:
        trace = network.trace(x)
        ctx.network = network
        ctx.trace_inputs = len(trace.inputs)
        # The vector is saved so that autograd notices a step taken before the backward pass.
        ctx.save_for_backward(vector, trace.output, *(trace.norm or ()), *trace.inputs)
        return trace.output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        network = ctx.network
        vector, output, *saved = ctx.saved_tensors
        norm = tuple(saved[:3]) if network.layer_norm else None
        trace = Trace(tuple(saved[-ctx.trace_inputs :]), output, norm)
        gradient = torch.empty_like(vector) if ctx.needs_input_grad[1] else None
        grad = network._backward(  # noqa: SLF001  # its other half
            trace,
            grad_output.contiguous(),
            None if gradient is None else network._plain(_split(gradient, network._shapes)),  # noqa: SLF001
            need_input=ctx.needs_input_grad[0],
        )
        return grad, gradient, None


def _split(vector: Tensor, shapes: list[tuple[int, int, int]]) -> tuple[Tensor, ...]:
    """Return views of a vector, one after the other."""
    parts = vector.split_with_sizes([math.prod(shape) for shape in shapes])
    return tuple(part.view(shape) for part, shape in zip(parts, shapes, strict=True))
