"""Models in several files: the index, the shards beside it, and what must hold between them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .safetensors_file import FileHeader

INDEX_SUFFIX = ".index.json"

_BLOCK_MATRIX = re.compile(r"blocks\.\d+\..+\.weight$")


def read_index(index: Path) -> dict[str, str]:
    """Which shard holds which weight, as the index says; every shard is there.

    Raises:
        CheckpointError: the index is missing or broken, or names shards that are not beside it.
    """
    if not index.is_file():
        raise CheckpointError(f"{index.name} does not exist: choose another file")
    try:
        listing: Any = json.loads(index.read_text(encoding="utf-8"))
        places = {str(name): str(shard) for name, shard in listing["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index.name} is not the index of a sharded model (no weight_map in it): download it again"
        ) from error
    shards = sorted(set(places.values()))
    if any(Path(name).name != name or "\\" in name for name in shards):
        raise CheckpointError(
            f"{index.name} names shards in other folders: put them beside it and name them bare"
        )
    others = [name for name in shards if not name.endswith(".safetensors")]
    if others:
        raise CheckpointError(
            f"{index.name} names shards that are no .safetensors files ({few(others)}), but only those are "
            "read: download the model as safetensors"
        )
    absent = [name for name in shards if not (index.parent / name).is_file()]
    if absent:
        raise CheckpointError(
            f"{index.name} needs {len(shards)} shards, but {len(absent)} of them are not in its folder "
            f"({few(absent)}): download them next to it"
        )
    return places


def check_shards(headers: Mapping[str, FileHeader], places: Mapping[str, str], *, label: str) -> None:
    """What one file cannot show: weights in two shards or in none, and shards of different models.

    Args:
        headers: file name of a shard -> its header.
        places: as `read_index` gives them.
        label: how messages call the model.

    Raises:
        CheckpointError: the shards do not belong together.
    """
    holders: dict[str, str] = {}
    for shard, header in headers.items():
        for name in header.shapes:
            if name in holders:
                raise CheckpointError(
                    f"{label} has {name} in two shards ({holders[name]} and {shard}), so they are of "
                    f"different downloads: download all shards again"
                )
            holders[name] = shard
    lost = [name for name, shard in places.items() if holders.get(name) != shard]
    if lost:
        raise CheckpointError(
            f"{label} names {len(lost)} weights that are not in their shards ({few(lost)}), so index and "
            f"shards are of different downloads: download both again"
        )
    _check_dtypes(headers, label)


def _check_dtypes(headers: Mapping[str, FileHeader], label: str) -> None:
    """Refuse shards that are each of one dtype and together of several; one mixed by design is left alone."""
    dtypes = {
        shard: {
            header.dtypes[name]
            for name, shape in header.shapes.items()
            if len(shape) == 2 and _BLOCK_MATRIX.search(name)
        }
        for shard, header in headers.items()
    }
    uniform = {shard: next(iter(found)) for shard, found in dtypes.items() if len(found) == 1}
    if len(uniform) < sum(bool(found) for found in dtypes.values()) or len(set(uniform.values())) < 2:
        return
    (one, first), (other, second) = next(
        (a, b) for a in uniform.items() for b in uniform.items() if a[1] != b[1]
    )
    raise CheckpointError(
        f"{label} has shards of different dtypes ({one} in {first}, {other} in {second}), so they are of "
        "different downloads: download all shards of one of them"
    )


def few(names: list[str]) -> str:
    """The first three, and dots for the rest."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
