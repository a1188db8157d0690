"""What of a forward hangs on prompt and canvas alone: computed once, used by every step of a run.

The tokens of prompt and picture, and in each block their keys and values, are the same at every noise level.
`Prepared` is what a model makes of them and `RunMemory` keeps it as long as a run lasts. They come from the
same layers, inputs and shapes as without it, so the answers are the same to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .attention import CrossAttention
    from .model import MagrefDiT

MAX_ENTRIES = 4
"""Batches of prompts that a run has at once: both prompts apart, with references and without."""


class KeysValues(NamedTuple):
    """Of one block's cross-attention."""

    text: tuple[Tensor, Tensor]
    """Keys and values, each (B, 512, D)."""
    image: tuple[Tensor, Tensor] | None
    """Keys and values, each (B, N, D); None without image tokens."""


class Prepared(NamedTuple):
    """What a model has made of one prompt and one canvas.

    It may be used as long as its weights, and no longer; without a gradient.
    """

    text: Tensor
    """(B, L, 4096) that is given; the model uses the rest only if it is given this very tensor."""
    image: Tensor | None
    """(B, N, 1280) that is given, likewise."""
    context: Tensor
    """(B, N + 512, D), image tokens first, see `MagrefDiT.embed_context`."""
    num_image_tokens: int | None
    keys_values: tuple[KeysValues, ...]
    """Block by block; empty where there is no room for them."""

    @property
    def num_bytes(self) -> int:
        """Of all that is held."""
        kept = [self.text, self.context, *(() if self.image is None else (self.image,))]
        for text, image in self.keys_values:
            kept += [*text, *(image or ())]
        return sum(tensor.nbytes for tensor in kept)


def prepare(
    dit: MagrefDiT,
    text: Tensor,
    image: Tensor | None,
    *,
    room: float = math.inf,
    spare: float = math.inf,
) -> Prepared:
    """Compute it; nothing is kept.

    Args:
        dit: the model.
        text: (B, L, 4096) in the compute dtype.
        image: (B, N, 1280) likewise, or None.
        room: bytes that keys and values may take; they are left out if they take more.
        spare: bytes that they may take together with all tokens; likewise.
    """
    context, num_image_tokens = dit.embed_context(text, image)
    tokens = Prepared(text, image, context, num_image_tokens, ())
    if 2 * len(dit.blocks) * context.nbytes <= min(room, spare - tokens.num_bytes):
        attentions = cast("list[CrossAttention]", [plain(plain(block).cross_attn) for block in dit.blocks])
        known = tuple(attention.keys_values(context, num_image_tokens) for attention in attentions)
        return tokens._replace(keys_values=known)
    return tokens


def plain(module: nn.Module) -> Any:
    """The module that torch.compile has wrapped, or the module itself."""
    return getattr(module, "_orig_mod", module)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    weights: Hashable
    with_keys: bool
    prepared: Prepared
    """With copies of the tensors that were given: whoever gave them may write to them."""


class RunMemory:
    """What was prepared in one run of a sampler; whoever starts the run empties it at the end.

    A prompt is known again by its numbers and by nothing else: a host hands new tensors in at each step, and
    other programs may have changed them. That costs a comparison per forward, 1e-4 of its time.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def __deepcopy__(self, _: dict[int, Any]) -> RunMemory:
        """Copies of a run's options share its memory, which is emptied with the run."""
        return self

    def recall(
        self,
        dit: MagrefDiT,
        text: Tensor,
        image: Tensor | None,
        *,
        room: float,
        spare: float = math.inf,
    ) -> Prepared:
        """What the model makes of a prompt and a canvas, from memory where it is there.

        Args:
            dit: the model; its weights are known again by their places and versions.
            text: (B, L, 4096) in the compute dtype.
            image: (B, N, 1280) likewise, or None.
            room: bytes that the keys and values of this prompt may take; 0 for no keys and values.
            spare: bytes that may be kept of this prompt in all, with copies of what is given; if that takes
                more without keys and values too, nothing is kept.

        Returns:
            It holds the tensors that are given; hand those to the model.
        """
        weights, with_keys = tuple(_marks(dit)), room > 0
        for index, entry in enumerate(self._entries):
            if (
                entry.weights == weights
                and entry.with_keys == with_keys
                and _is_of(entry.prepared, text, image)
            ):
                # The one that is dropped is the longest unused.
                self._entries.append(self._entries.pop(index))
                return entry.prepared._replace(text=text, image=image)
        # What other weights have computed is of no use any more.
        self._entries = [entry for entry in self._entries if entry.weights == weights][1 - MAX_ENTRIES :]
        copies = (text.clone(), None if image is None else image.clone())
        prepared = prepare(dit, text, image, room=room, spare=spare)
        if prepared.num_bytes <= spare:
            kept = prepared._replace(text=copies[0], image=copies[1])
            self._entries.append(_Entry(weights=weights, with_keys=with_keys, prepared=kept))
        return prepared

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    @property
    def num_bytes(self) -> int:
        """Of all that is kept."""
        return sum(entry.prepared.num_bytes for entry in self._entries)


def _is_of(prepared: Prepared, text: Tensor, image: Tensor | None) -> bool:
    if (prepared.image is None) != (image is None):
        return False
    return _equal(prepared.text, text) and (image is None or _equal(prepared.image, image))


def _equal(one: Tensor | None, other: Tensor) -> bool:
    if one is None or (one.shape, one.dtype, one.device) != (other.shape, other.dtype, other.device):
        return False
    return torch.equal(one, other)


def _marks(dit: MagrefDiT) -> Iterator[Hashable]:
    """Changes if weights that `prepare` uses are replaced, moved or, where PyTorch counts it, written to."""
    attentions = [plain(block).cross_attn for block in dit.blocks]
    modules: list[nn.Module] = [dit.text_embedding, dit.img_emb, *cast("list[nn.Module]", attentions)]
    for module in modules:
        for weight in module.parameters():
            yield id(weight), weight.device, 0 if weight.is_inference() else weight._version
