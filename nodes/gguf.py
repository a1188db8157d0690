"""GGUF weights in the host: packed tensors that its memory management knows, and layers that unpack at use.

A packed weight is one of the host's quantised tensors with a layout of ours, so that moving, pinning,
streaming and counting are the host's. A layer unpacks its own weight on the device for the length of its
product; LoRAs are added to what was unpacked, and never packed again, which would lose most of them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import comfy.float
import comfy.model_patcher
import comfy.ops
import comfy.patcher_extension
import comfy.quant_ops
import torch
from comfy.quant_ops import QuantizedTensor, register_layout_class
from torch import Tensor, nn

from ..magref_core.dit.gguf_blocks import dequantise
from ..magref_core.dit.gguf_file import PLAIN, map_weights, read_header
from ..magref_core.errors import MagrefError

LAYOUT = "MagrefGguf"

# Absent where the host runs without comfy-kitchen; the pack loads all the same.
_HostLayout: Any = getattr(comfy.quant_ops, "QuantizedLayout", object)


@dataclasses.dataclass(frozen=True)
class GgufParams:
    """What the bytes of a packed weight mean; the names are those that the host asks for."""

    kind: str
    orig_dtype: torch.dtype
    """In which it is unpacked."""
    orig_shape: tuple[int, ...]

    def to_device(self, device: torch.device) -> GgufParams:
        return self

    def clone(self) -> GgufParams:
        return dataclasses.replace(self)

    def copy_from(self, src: GgufParams, non_blocking: bool = False) -> None:
        """Nothing: a copy between tensors of different formats is refused by the sizes of their bytes."""


class GgufLayout(_HostLayout):
    """All block formats; which one is said by the parameters."""

    Params = GgufParams

    @classmethod
    def quantize(cls, tensor: Tensor, **kwargs: Any) -> tuple[Tensor, GgufParams]:
        raise MagrefError(
            "weights cannot be packed into GGUF blocks again: load a safetensors file of the model for this"
        )

    @classmethod
    def dequantize(cls, qdata: Tensor, params: GgufParams) -> Tensor:
        return dequantise(qdata, params.kind, dtype=params.orig_dtype)

    @classmethod
    def get_plain_tensors(cls, qtensor: QuantizedTensor) -> tuple[Tensor, ...]:
        return (qtensor._qdata,)

    @classmethod
    def state_dict_tensors(cls, qdata: Tensor, params: GgufParams) -> dict[str, Tensor]:
        return {"": cls.dequantize(qdata, params)}


register_layout_class(LAYOUT, GgufLayout)


class GgufOperations(comfy.ops.manual_cast):
    """The host's layers, of which Linear takes packed weights as well as plain ones."""

    class Linear(comfy.ops.manual_cast.Linear):
        def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
            # Past the parent, which would reserve the memory of all unpacked weights.
            nn.Module.__init__(self)
            self.in_features, self.out_features = in_features, out_features
            self.register_parameter("weight", None)
            empty = torch.empty(out_features, device=device, dtype=dtype) if bias else None
            self.bias = None if empty is None else nn.Parameter(empty, requires_grad=False)
            self.weight_comfy_model_dtype = self.bias_comfy_model_dtype = dtype
            self.patch_at_use: comfy.model_patcher.LowVramPatch | None = None
            self._merged_at_load = None

        @property
        def is_packed(self) -> bool:
            return isinstance(self.weight, QuantizedTensor)

        @property
        def weight_lowvram_function(self):
            """The host would merge what stands here into the packed weight, and pack it again."""
            return None if self.is_packed else self._merged_at_load

        @weight_lowvram_function.setter
        def weight_lowvram_function(self, function):
            self._merged_at_load = function

        def _load_from_state_dict(self, state_dict, prefix, *args):
            missing_keys = args[2]
            for name in ("weight", "bias"):
                value = state_dict.get(prefix + name)
                if value is not None:
                    setattr(self, name, nn.Parameter(value, requires_grad=False))
                elif name == "weight" or self.bias is not None:
                    missing_keys.append(prefix + name)

        def forward_comfy_cast_weights(self, input):
            weight, bias, stream = comfy.ops.cast_bias_weight(
                self, input, offloadable=True, compute_dtype=input.dtype
            )
            dense = weight.dequantize() if isinstance(weight, QuantizedTensor) else weight
            patch = self._pending_patch()
            out = nn.functional.linear(input, dense if patch is None else patch(dense), bias)
            comfy.ops.uncast_bias_weight(self, weight, bias, stream)
            return out

        def forward(self, input):
            comfy.ops.run_every_op()
            return self.forward_comfy_cast_weights(input)

        def _pending_patch(self):
            """LoRAs of a packed weight, unless the host has already applied them to what it unpacked."""
            if not self.is_packed or any(
                getattr(function, "is_lowvram_patch", False) for function in self.weight_function
            ):
                return None
            return self.patch_at_use

        def convert_weight(self, weight, inplace=False, **kwargs):
            return weight.dequantize() if isinstance(weight, QuantizedTensor) else weight

        def set_weight(self, weight, inplace_update=False, seed=None, return_weight=False, **kwargs):
            """Take a patched weight from the host; packed ones stay as they are and are patched at use."""
            if not self.is_packed:
                weight = comfy.float.stochastic_rounding(weight, self.weight.dtype, seed=seed or 0)
            if return_weight:
                return weight
            if self.is_packed:
                if inplace_update:
                    raise MagrefError(
                        "LoRAs that change during sampling (hooks) cannot be applied to GGUF weights: use a "
                        "LoRA loader node, or a safetensors file of the model"
                    )
                return None
            if inplace_update:
                self.weight.data.copy_(weight)
            else:
                self.weight = nn.Parameter(weight, requires_grad=False)
            return None

        def _apply(self, fn, recurse=True):
            """As nn.Module, which cannot swap the data of a packed parameter."""
            for name, parameter in self._parameters.items():
                if parameter is not None:
                    moved = fn(parameter)
                    if moved is not parameter:
                        self._parameters[name] = nn.Parameter(moved, requires_grad=False)
            return self


def read_weights(file: Path, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """All tensors of a GGUF file, mapped into memory.

    Args:
        file: as for `read_header`.
        dtype: that matrices tell as theirs.

    Returns:
        Name -> plain weights as they are; matrices in blocks packed; what else is in blocks (none in usual
        files, and small) in float32.

    Raises:
        MagrefError: the host has no quantised tensors.
    """
    if _HostLayout is object:
        raise MagrefError(
            f"{file.name} is a GGUF file, for which ComfyUI needs its package comfy-kitchen: install "
            f"ComfyUI's requirements again"
        )
    tensors = read_header(file).tensors
    weights = map_weights(file, tensors)
    for tensor in tensors:
        if tensor.kind in PLAIN:
            continue
        packed, shape = weights[tensor.name], tensor.shape
        if len(shape) == 2 and shape[1] == tensor.columns and tensor.name.endswith(".weight"):
            params = GgufParams(kind=tensor.kind, orig_dtype=dtype, orig_shape=shape)
            weights[tensor.name] = QuantizedTensor(packed, LAYOUT, params)
        else:
            weights[tensor.name] = dequantise(packed, tensor.kind).view(shape)
    return weights


def is_packed(weight: Tensor) -> bool:
    return isinstance(weight, QuantizedTensor) and weight._layout_cls == LAYOUT


def sample_of(weight: Any) -> Tensor:
    """A few unpacked numbers of a packed weight, to see whether they are numbers."""
    params = weight._params
    return dequantise(weight._qdata[:1], params.kind).flatten()


def patch_at_use(patcher: comfy.model_patcher.ModelPatcher) -> None:
    """Have the LoRAs of a model applied to packed weights whenever the host loads it."""
    patcher.add_callback(comfy.patcher_extension.CallbacksMP.ON_LOAD, _hand_over_patches)


def _hand_over_patches(patcher: comfy.model_patcher.ModelPatcher, *_: Any) -> None:
    for name, module in patcher.model.named_modules():
        if isinstance(module, GgufOperations.Linear):
            key = f"{name}.weight"
            has_patches = key in patcher.patches
            module.patch_at_use = (
                comfy.model_patcher.LowVramPatch(key, patcher.patches) if has_patches else None
            )
