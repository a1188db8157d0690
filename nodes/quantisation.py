"""What files say about their own quantisation, checked before the host believes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from comfy.quant_ops import QUANT_ALGOS
from torch import Tensor

from ..magref_core.dit.shards import few
from ..magref_core.errors import CheckpointError

METADATA = "_quantization_metadata"
MARK = "scaled_fp8"
"""Name of an empty tensor that marks files of the older form, in which each fp8 matrix has a scale."""

_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def check_quantisation(weights: Mapping[str, Tensor], metadata: Mapping[str, str], *, label: str) -> None:
    """Refuse files whose scales and whose words about them do not fit each other.

    Args:
        weights: under the names of the file.
        metadata: of the file.
        label: how messages call it.

    Raises:
        CheckpointError: a format that the host does not know, scales that are named and not there, or scales
            of which nothing says how they are meant.
    """
    layers = formats_told(weights, metadata, label=label)
    unknown = {layer: told for layer, told in layers.items() if told not in QUANT_ALGOS}
    if unknown:
        layer, told = next(iter(unknown.items()))
        raise CheckpointError(
            f"{label} has layers in the quantisation '{told}' ({layer}), but this ComfyUI knows "
            f"{', '.join(QUANT_ALGOS)}: update ComfyUI or choose another file"
        )
    marks = [name.removesuffix(MARK) for name in weights if name == MARK or name.endswith(f".{MARK}")]
    needed = [f"{layer}.{part}" for layer, told in layers.items() for part in _parts(told)]
    for prefix in marks:
        needed += [
            name.removesuffix("weight") + "scale_weight"
            for name, weight in weights.items()
            if name.startswith(prefix) and name.endswith(".weight") and weight.dtype in _FP8
        ]
    lacking = [name for name in needed if name not in weights]
    if lacking:
        raise CheckpointError(
            f"{label} is quantised with scales, but {len(lacking)} tensors of its layers are not in it "
            f"({few(lacking)}): download it again or choose another file"
        )
    _check_told(weights, layers, marks, label)


def formats_told(weights: Mapping[str, Tensor], metadata: Mapping[str, str], *, label: str) -> dict[str, str]:
    """Layer -> the format in which it says, or the metadata say, that it is.

    Raises:
        CheckpointError: what is said is no JSON of the form that the host writes.
    """
    try:
        told: dict[str, Any] = {}
        if METADATA in metadata:
            told |= dict(json.loads(metadata[METADATA])["layers"])
        for name, value in weights.items():
            if name.endswith(".comfy_quant"):
                told[name.removesuffix(".comfy_quant")] = json.loads(bytes(value.tolist()))
        return {layer: str(config["format"]) for layer, config in told.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{label} does not say in a readable way how it is quantised: download it again or choose "
            "another file"
        ) from error


def correct_formats(weights: dict[str, Tensor]) -> None:
    """Call e5m2 matrices so: the host takes all of the older form for e4m3fn, in which they overflow.

    Args:
        weights: after the host's conversion; changed in place.
    """
    for name in [name for name in weights if name.endswith(".comfy_quant")]:
        weight = weights.get(name.removesuffix("comfy_quant") + "weight")
        if weight is None or weight.dtype != torch.float8_e5m2:
            continue
        told = json.loads(bytes(weights[name].tolist()))
        if told.get("format") == "float8_e4m3fn":
            words = json.dumps(told | {"format": "float8_e5m2"}).encode()
            weights[name] = torch.tensor(list(words), dtype=torch.uint8)


def _parts(told: str) -> list[str]:
    """The tensors without which a layer of a format means nothing."""
    scales = sorted(part for part in QUANT_ALGOS[told]["parameters"] if part.startswith("weight_scale"))
    return ["weight", *scales]


def _check_told(
    weights: Mapping[str, Tensor], layers: Mapping[str, str], marks: list[str], label: str
) -> None:
    """Refuse scales that the host would pass over, which leaves weights hundreds of times too large."""
    untold = [
        name
        for name in weights
        if (name.endswith(".weight_scale") and name.removesuffix(".weight_scale") not in layers)
        or (name.endswith(".scale_weight") and not any(name.startswith(prefix) for prefix in marks))
    ]
    if untold:
        raise CheckpointError(
            f"{label} has {len(untold)} scales ({few(untold)}), but nothing in it says how they are meant "
            f"(neither '{MARK}' nor comfy_quant): choose a file that ComfyUI made or can read"
        )
