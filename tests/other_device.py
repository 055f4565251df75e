"""A device that is not the host, on machines without one: nothing may cross to it unasked.

Tensors are PyTorch's own of device `meta`, so the code under test takes the way that it takes on an
accelerator. What they hold lies beside them in host memory, one block for each storage, where every
operator is also worked out; so training comes to the same numbers. As on an accelerator, an
operator on tensors of both sides is an error; reading a number back is allowed and counted.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = "meta"
ATEN = torch.ops.aten
MOVES = (ATEN._to_copy.default, ATEN.copy_.default)
TAKES_HOST_INDEX = (ATEN.index.Tensor, ATEN.index_put_.default, ATEN._index_put_impl_.default)
SOURCES = Path(__file__).parents[1] / "rl"


class MixedDevicesError(RuntimeError):
    """An operator was given tensors of the host and of the device."""


class _HostGenerator(torch.Generator):
    """Chance for the other device, drawn on the host."""

    def __new__(cls, device: object = None) -> _HostGenerator:
        return super().__new__(cls)


class OtherDevice(TorchDispatchMode):
    """While entered, tensors on `DEVICE` have content."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        """How often a number came back to the host, by the line of rl/ that waited for it."""
        self._memory: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in tensors if tensor.is_meta]
        to_device = torch.device(given.get("device") or "cpu").type == DEVICE
        if not there and not to_device:
            return func(*args, **given)
        mixes = any(tensor.dim() > 0 and not tensor.is_meta for tensor in tensors)
        if there and mixes and func not in MOVES + TAKES_HOST_INDEX:
            raise MixedDevicesError(f"{func} of tensors here and there")
        here = tree_map(self._here, (tuple(args), given))
        if "device" in given:
            here[1]["device"] = "cpu"
        result = func(*here[0], **here[1])
        comes_back = not to_device and (
            func is ATEN._local_scalar_dense.default
            or "device" in given
            or (func is ATEN.copy_.default and not args[0].is_meta)
        )
        if comes_back:
            self._count_read()
            return args[0] if func is ATEN.copy_.default else result
        if func._schema.is_mutable:
            return args[0] if func._schema.returns else None  # callers with `out` have it
        try:
            outer = func(*args, **given)
        except NotImplementedError:
            self._count_read()  # how much comes out depends on what is there
            outer = tree_map(_empty_there, result)
        return self._filled(outer, result)

    def __enter__(self) -> OtherDevice:
        # Lists become tensors on the host first, where this mode sees them move.
        self._lifted_before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(self._lifted_before)

    def content(self, tensor: Tensor) -> Tensor:
        """Return a copy on the host of what a tensor holds."""
        return self._here(tensor.detach()).clone()

    def _here(self, leaf: Any) -> Any:
        """Return the host's view of what a tensor on the device holds."""
        if not isinstance(leaf, Tensor) or not leaf.is_meta:
            return leaf
        storage = leaf.untyped_storage()
        block = self._memory[storage._cdata][1]
        view = torch.empty(0, dtype=leaf.dtype)
        return view.set_(block, leaf.storage_offset(), leaf.size(), leaf.stride())

    def _filled(self, outer: Any, inner: Any) -> Any:
        """Put what was worked out into those results on the device that are no views."""
        leaves = zip(tree_leaves(outer), tree_leaves(inner), strict=True)
        for leaf, value in leaves:
            if not isinstance(leaf, Tensor):
                continue
            storage = leaf.untyped_storage()
            if storage._cdata not in self._memory:
                self._memory[storage._cdata] = (storage, torch.UntypedStorage(storage.nbytes()))
                self._here(leaf).copy_(value)
        return outer

    def _count_read(self) -> None:
        frames = [one for one in traceback.extract_stack() if one.filename.startswith(str(SOURCES))]
        place = f"{Path(frames[-1].filename).name}: {frames[-1].line}" if frames else "a test"
        self.reads[place] += 1


class _MadeOnTheHost(TorchFunctionMode):
    """Makes tensors of Python's numbers and lists on the host first: `OtherDevice` sees moves."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            chosen = tuple(torch.tensor(one) if isinstance(one, list) else one for one in index)
            return func(args[0], chosen, *args[2:])
        if func is Tensor.new_tensor:
            return torch.tensor(args[1], dtype=given.get("dtype", args[0].dtype)).to(args[0].device)
        if func in (torch.tensor, torch.as_tensor) and given.get("device") is not None:
            device = given.pop("device")
            return func(*args, **given).to(device)
        return func(*args, **given)


def _empty_there(leaf: Any) -> Any:
    return torch.empty_like(leaf, device=DEVICE) if isinstance(leaf, Tensor) else leaf


@contextmanager
def other_device() -> Iterator[OtherDevice]:
    """Let tensors be put on `DEVICE`, with generators and fused optimisers of their own."""
    fused = "torch.optim.optimizer._get_fused_kernels_supported_devices"
    with (
        mock.patch.object(torch, "Generator", _HostGenerator),
        mock.patch(fused, return_value=["cpu", DEVICE]),
        _MadeOnTheHost(),
        OtherDevice() as device,
    ):
        yield device
