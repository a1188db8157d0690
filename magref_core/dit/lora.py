"""LoRA files of many tools under one set of names: those by which ComfyUI's own loader finds a layer.

Understood are the names of the upstream code, of diffusers, peft, kohya and musubi (`lora_unet_`), Wan-Fun
(`lora_unet__`), OneTrainer, LyCORIS and lightx2v (`diff`, `diff_b`, `diff_m`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import CheckpointError
from .lora_parts import DOWN, LOHA, LOKR, UP, Shape, shapes_made, sides
from .naming import from_diffusers, to_diffusers

HOST_PREFIX = "diffusion_model."
"""Before the path of a layer in the names of the host."""

_PREFIXES = (
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "pipe.dit.",
    "module.",
    "model.",
    "unet.",
    "dit.",
)
_JOINED_PREFIXES = ("lora_unet__", "lora_unet_", "lora_transformer_", "lycoris_")
"""Before a path whose dots are underscores."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.lora_(?:A|down)(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?"), DOWN),
    (re.compile(r"\.lora_(?:B|up)(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?"), UP),
    (re.compile(r"(?:[._]lora|\.lora_linear_layer)\.down\.weight"), DOWN),
    (re.compile(r"(?:[._]lora|\.lora_linear_layer)\.up\.weight"), UP),
    (re.compile(r"\.lora_magnitude_vector(?:\.[^.]+)*"), "dora_scale"),
    *((re.compile(rf"\.{kind}"), kind) for kind in ("alpha", "dora_scale", "diff", "diff_b", "diff_m")),
    *((re.compile(rf"\.{kind}"), kind) for kind in (*LOKR, *LOHA)),
)
"""What ends a key, and what the host calls it; `_ending` matches it at the end."""

_WIDTHS = {1536: "Wan 2.1 1.3B", 3072: "Wan 2.2 5B", 5120: "Wan 2.1 or 2.2 14B"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """What of a file belongs to the model."""

    weights: dict[str, Tensor]
    """In the host's names: `diffusion_model.<layer>.<kind>`."""
    modulation: dict[str, Tensor]
    """Path of a modulation table, without prefix -> what is added to it; such tables are no layers."""
    layers: tuple[str, ...]
    """Paths of the layers that are changed."""
    ranks: tuple[int, ...]
    """That occur, sorted."""
    num_keys: int
    """In the file."""
    unknown: tuple[str, ...]
    """Keys of the file for which the model has no place."""
    misfits: tuple[str, ...]
    """Layers outside the blocks that are of another shape here, and are left out."""

    @property
    def num_matched(self) -> int:
        """Keys of the file that found their place."""
        return self.num_keys - len(self.unknown)


def normalise_lora(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    label: str,
    metadata: Mapping[str, str] | None = None,
) -> Lora:
    """Find the place of each key of a LoRA file.

    Args:
        tensors: as in the file.
        shapes: upstream names and shapes of the model's weights.
        label: how messages call the file.
        metadata: of the file; diffusers writes alpha there.

    Returns:
        The LoRA in the host's names; with no layers where nothing fits.

    Raises:
        CheckpointError: parts do not fit each other or the blocks of this model, some are missing, or values
            are not finite.
    """
    found, unknown = _sorted(tensors, _Places(shapes), label)
    misfits: list[str] = []
    for layer, parts in list(found.items()):
        _check_pair(layer, parts, label)
        if not _fits(layer, {kind: value for kind, (_, value) in parts.items()}, shapes, label):
            misfits.append(layer)
            unknown += [key for key, _ in parts.values()]
            del found[layer]
    alphas = _alphas(metadata or {}, found)
    return Lora(
        weights={
            f"{HOST_PREFIX}{layer}.{kind}": _formed(kind, value)
            for layer, parts in found.items()
            if not layer.endswith("modulation")
            for kind, value in [
                *((kind, value) for kind, (_, value) in parts.items()),
                *alphas.get(layer, ()),
            ]
        },
        modulation={
            layer: value
            for layer, parts in found.items()
            if layer.endswith("modulation")
            for _, value in parts.values()
        },
        layers=tuple(found),
        ranks=tuple(sorted({len(parts[DOWN][1]) for parts in found.values() if DOWN in parts})),
        num_keys=len(tensors),
        unknown=tuple(unknown),
        misfits=tuple(misfits),
    )


def _sorted(
    tensors: Mapping[str, Tensor], places: _Places, label: str
) -> tuple[dict[str, dict[str, tuple[str, Tensor]]], list[str]]:
    """Layer -> kind -> key and value; and the keys without a place."""
    found: dict[str, dict[str, tuple[str, Tensor]]] = {}
    unknown: list[str] = []
    for key, value in tensors.items():
        place = places.of(key)
        if place is None:
            unknown.append(key)
            continue
        _check_finite(value, key, label)
        layer, kind = place
        found.setdefault(layer, {})[kind] = (key, value)
    return found, unknown


class _Places:
    """Where the keys of a file belong."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.layers = {name.removesuffix(".weight").removesuffix(".bias") for name in shapes}
        self.joined = {layer.replace(".", "_"): layer for layer in self.layers}
        # Those of diffusers after those of upstream, which win.
        self.joined = {to_diffusers(layer).replace(".", "_"): layer for layer in self.layers} | self.joined

    def of(self, key: str) -> tuple[str, str] | None:
        """(layer, kind in the host's words) of a key, or None."""
        path, kind = _ending(key)
        if kind is None:
            return None
        if kind == "diff_m":
            path, kind = f"{path}.modulation", "diff"
        layer = self._layer(path)
        if layer is None or (layer.endswith("modulation") and kind != "diff"):
            return None
        return layer, kind

    def _layer(self, path: str) -> str | None:
        for prefix in _JOINED_PREFIXES:
            if path.startswith(prefix):
                rest = path[len(prefix) :].replace(".", "_")
                if rest in self.joined:
                    return self.joined[rest]
        while prefix := next((prefix for prefix in _PREFIXES if path.startswith(prefix)), ""):
            path = path[len(prefix) :]
        candidates = (path, from_diffusers(path), from_diffusers(path.replace(".processor.", ".")))
        return next((layer for layer in candidates if layer in self.layers), None)


def _ending(key: str) -> tuple[str, str | None]:
    """The path before the end of a key, and what the host calls the end; None for an end nobody knows."""
    for pattern, kind in _PATTERNS:
        for match in pattern.finditer(key):
            if match.end() == len(key):
                return key[: match.start()], kind
    return key, None


def _check_pair(layer: str, parts: Mapping[str, tuple[str, Tensor]], label: str) -> None:
    if (DOWN in parts) != (UP in parts):
        raise CheckpointError(
            f"{label} holds one of the two factors of {layer} ({next(iter(parts.values()))[0]}) and lacks "
            "the other: download it again"
        )


def _fits(layer: str, parts: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], label: str) -> bool:
    """Whether the model's layer has the shape for which the LoRA was made.

    Raises:
        CheckpointError: it has not, and it is one of the blocks: then the file is of another model.
    """
    needed = shapes.get(f"{layer}.weight", shapes.get(layer, ()))
    given = shapes_made(layer, parts, label)
    given |= {name: tuple(parts[name].shape) for name in ("diff", "diff_b", "dora_scale") if name in parts}
    bias = shapes.get(f"{layer}.bias", ())
    wrong = [shape for name, shape in given.items() if shape not in _fitting(name, needed, bias)]
    if not wrong:
        return True
    if not layer.startswith("blocks."):
        return False
    widths = [_WIDTHS[size] for size in wrong[0] if size in _WIDTHS]
    kind = f" ({widths[0]} is that wide)" if widths else ""
    raise CheckpointError(
        f"{label} is a LoRA of another model: its {layer} is {sides(wrong[0])}{kind}, but here it is "
        f"{sides(needed)}: choose a LoRA that was made for this model"
    )


def _fitting(name: str, weight: Shape, bias: Shape) -> tuple[Shape, ...]:
    """Shapes that something of a name may have, where the layer has these."""
    if name == "diff_b":
        return (bias,)
    if name == "diff":
        return (weight,)
    if len(weight) < 2:
        return ()
    ones = (1,) * (len(weight) - 2)
    if name == "dora_scale":  # lengths of the rows, by peft without further sides, or of the columns
        rows, columns = (weight[0], 1, *ones), (1, weight[1], *ones)
        return (rows, columns) if ones else (rows, columns, weight[:1])
    return (weight[0], torch.Size(weight[1:]).numel()), weight


def _alphas(
    metadata: Mapping[str, str], found: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[tuple[str, Tensor], ...]]:
    """Alpha of layers that have none of their own, from what diffusers writes into the metadata."""
    told = _settings(metadata)
    patterns = cast("dict[str, Any]", told.get("alpha_pattern") or {})
    alphas: dict[str, tuple[tuple[str, Tensor], ...]] = {}
    for layer, parts in found.items():
        theirs = to_diffusers(layer)
        own = [value for name, value in patterns.items() if theirs.endswith(name)]
        alpha = (own or [told.get("lora_alpha")])[0]
        if DOWN in parts and "alpha" not in parts and isinstance(alpha, int | float):
            alphas[layer] = (("alpha", torch.tensor(float(alpha))),)
    return alphas


def _settings(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Settings of peft in the metadata, without the part before each; none where they are broken."""
    try:
        told: Any = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        return {}
    if not isinstance(told, dict):
        return {}
    return {key.rpartition(".")[2]: value for key, value in cast("dict[str, Any]", told).items()}


def _formed(kind: str, value: Tensor) -> Tensor:
    """Peft keeps the lengths of DoRA as a vector, the host as a column."""
    return value[:, None] if kind == "dora_scale" and value.ndim == 1 else value


def _check_finite(value: Tensor, key: str, label: str) -> None:
    if value.is_floating_point() and not value.float().isfinite().all():
        raise CheckpointError(f"{label} has values that are not finite numbers ({key}): download it again")
