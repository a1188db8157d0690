"""A DiT file of any size that takes no room on the disk: all names and shapes, and zeros for numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT


def write_sparse_dit(file: Path, config: DiTConfig) -> Path:
    """Write a safetensors file in bf16, whose numbers are a hole; it needs as much memory as any other."""
    entries: dict[str, object] = {}
    end = 0
    for name, weight in MagrefDiT(config, Backend(device="meta")).state_dict().items():
        size = 2 * math.prod(weight.shape)
        entries[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + end)
    return file
