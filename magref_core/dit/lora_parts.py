"""The parts in which a LoRA keeps the change of a layer: do they fit each other, and what shape do they make.

Three ways are in use. LoRA: two factors. LoHa: two pairs of factors, whose products are multiplied number by
number. LoKr: the Kronecker product of two matrices, each whole or a pair of factors. ComfyUI looks at none of
this before it samples; there it fails, or leaves the layer as it is and says so in the log alone.

Source: KohakuBlueleaf/LyCORIS, lycoris/functional/loha.py and lokr.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ..errors import CheckpointError

DOWN, UP = "lora_down.weight", "lora_up.weight"
"""First factor (rank, in) and second factor (out, rank) in the host's names."""

LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")

Shape = tuple[int, ...]


def shapes_made(layer: str, parts: Mapping[str, Tensor], label: str) -> dict[str, Shape]:
    """What the parts of a layer make.

    Args:
        layer: its path, for messages.
        parts: kind in the host's words -> value; of the two factors of a LoRA both or none.
        label: how messages call the file.

    Returns:
        Way -> shape of the change: (out, in), where in counts all other sides of a convolution; all sides of
        a LoKr that has more than two.

    Raises:
        CheckpointError: parts are missing, do not fit each other, or are in a form that the host cannot use.
    """
    shapes: dict[str, Shape] = {}
    if DOWN in parts:
        shapes["LoRA"] = _product(layer, parts[UP], parts[DOWN], label)
    if not parts.keys().isdisjoint(LOHA):
        shapes["LoHa"] = _loha(layer, parts, label)
    if not parts.keys().isdisjoint(LOKR):
        shapes["LoKr"] = _lokr(layer, parts, label)
    return shapes


def sides(shape: Iterable[int]) -> str:
    """5120 x 5120."""
    return " x ".join(str(side) for side in shape)


def _loha(layer: str, parts: Mapping[str, Tensor], label: str) -> Shape:
    _refuse_tucker(layer, parts, label)
    one, other = (_pair(layer, f"hada_{name}", parts, label) for name in ("w1", "w2"))
    if one != other:
        raise CheckpointError(
            f"{label} has the two products of {layer}, {sides(one)} and {sides(other)}, that are to be "
            "multiplied number by number, but these must be of one shape: download it again"
        )
    return one


def _lokr(layer: str, parts: Mapping[str, Tensor], label: str) -> Shape:
    _refuse_tucker(layer, parts, label)
    one, other = (
        tuple(parts[name].shape) if name in parts else _pair(layer, name, parts, label)
        for name in ("lokr_w1", "lokr_w2")
    )
    length = max(len(one), len(other))  # the shorter gets sides of 1 before its own
    one, other = ((1,) * (length - len(shape)) + shape for shape in (one, other))
    return tuple(a * b for a, b in zip(one, other, strict=True))


def _refuse_tucker(layer: str, parts: Mapping[str, Tensor], label: str) -> None:
    """The host multiplies such cores for the convolutions of image models alone."""
    cores = [name for name in ("hada_t1", "hada_t2", "lokr_t2") if name in parts]
    if cores:
        raise CheckpointError(
            f"{label} has {layer} in Tucker's form ({cores[0]}), but ComfyUI knows it for image models "
            "alone: choose a LoRA that was trained without use_tucker"
        )


def _pair(layer: str, name: str, parts: Mapping[str, Tensor], label: str) -> Shape:
    first, second = parts.get(f"{name}_a"), parts.get(f"{name}_b")
    if first is None or second is None:
        lacking = f"{name}_a" if first is None else f"{name}_b"
        held = next(kind for kind in parts if kind in (*LOKR, *LOHA))
        raise CheckpointError(f"{label} holds {held} of {layer} and lacks {lacking}: download it again")
    if first.ndim != 2 or second.ndim != 2:
        raise _misfit(layer, first, second, label)
    return _product(layer, first, second, label)


def _product(layer: str, first: Tensor, second: Tensor, label: str) -> Shape:
    """Of (out, rank) and (rank, in); further sides count as one with the second."""
    if min(first.ndim, second.ndim) < 2 or first.shape[1] != second.shape[0]:
        raise _misfit(layer, first, second, label)
    return first.shape[0], second[0].numel()


def _misfit(layer: str, first: Tensor, second: Tensor, label: str) -> CheckpointError:
    return CheckpointError(
        f"{label} has factors of {layer} that do not fit each other, {sides(second.shape)} and "
        f"{sides(first.shape)}, but the rank must be the same: download it again"
    )
