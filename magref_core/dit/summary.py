"""What a file holds, in numbers: for logs, for the node, and for plans of memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from .attention import Backend
from .checkpoint import Checkpoint
from .config import DiTConfig
from .gguf_blocks import BLOCK_FORMATS
from .model import MagrefDiT
from .naming import upstream_names

_HALF_BYTES = {
    "F64": 16,
    "I64": 16,
    "U64": 16,
    "F32": 8,
    "I32": 8,
    "U32": 8,
    "F16": 4,
    "BF16": 4,
    "I16": 4,
    "U16": 4,
    "F4": 1,
}
"""Dtype in the words of safetensors -> half bytes of a number; what is not here has one byte."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a file holds."""

    label: str
    """Name of the chosen file."""
    config: DiTConfig
    num_weights: int
    stored: dict[str, int]
    """Dtype or block format -> bytes in the file, largest first; of the DiT alone."""

    @property
    def stored_bytes(self) -> int:
        """Bytes of the DiT in the file."""
        return sum(self.stored.values())


def contents_of(checkpoint: Checkpoint, config: DiTConfig) -> Contents:
    """Count what a file holds by its header.

    Args:
        checkpoint: as read.
        config: of the model in it.
    """
    weights = MagrefDiT(config, Backend(device="meta")).state_dict().values()
    stored: Counter[str] = Counter()
    for name in upstream_names(checkpoint.shapes):
        count = math.prod(checkpoint.shapes[name])
        kind = checkpoint.dtypes[name]
        if kind in BLOCK_FORMATS:
            form = BLOCK_FORMATS[kind]
            stored[kind] += count // form.elements * form.size
        else:
            stored[kind] += count * _HALF_BYTES.get(kind, 2) // 2
    return Contents(
        label=checkpoint.label,
        config=config,
        num_weights=sum(weight.numel() for weight in weights),
        stored=dict(stored.most_common()),
    )
