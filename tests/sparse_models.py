"""A DiT of the released size in shards with holes: all names and shapes, next to nothing on the disk."""

from __future__ import annotations

import json
from pathlib import Path

from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT


def save_sparse_shards(folder: Path, config: DiTConfig | None = None, *, count: int = 7) -> Path:
    """Float32 shards as the official ones, all zeros, in the order of the model; gives their index."""
    shapes = {
        name: tuple(value.shape)
        for name, value in MagrefDiT(config or DiTConfig(), Backend(device="meta")).state_dict().items()
    }
    names, weight_map = list(shapes), {}
    share = -(-len(names) // count)
    for number in range(count):
        shard = f"diffusion_pytorch_model-{number + 1:05}-of-{count:05}.safetensors"
        entries, end = {}, 0
        for name in names[number * share : (number + 1) * share]:
            size = 4
            for side in shapes[name]:
                size *= side
            entries[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [end, end + size]}
            end += size
            weight_map[name] = shard
        header = json.dumps(entries).encode()
        header += b" " * (-len(header) % 8)
        with (folder / shard).open("wb") as stream:
            stream.write(len(header).to_bytes(8, "little") + header)
            stream.truncate(8 + len(header) + end)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    return index
