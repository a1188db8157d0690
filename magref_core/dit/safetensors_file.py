"""Safetensors files: what their header says, and one sentence on what is wrong if it cannot be read."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors import SafetensorError

from ..errors import CheckpointError
from .gguf_file import MAGIC as GGUF_MAGIC

MAX_HEADER = 100_000_000
"""Bytes of the longest header that safetensors reads; more is the start of something else."""

MAX_TENSORS = 100_000
"""Of one file; the DiT has 1303, a checkpoint with all its encoders some thousands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileHeader:
    """What the header of one file says."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    """Name -> dtype in the words of the file: F32, BF16, F8_E4M3, and for GGUF Q4_K and the like."""
    metadata: dict[str, str]


def read_header(file: Path) -> FileHeader:
    """Read the header; the package checks sizes, offsets and that nothing overlaps.

    Raises:
        CheckpointError: the file cannot be read as safetensors, or holds more tensors than any model.
    """
    try:
        with open_file(file) as weights:
            names = weights.keys()
            if len(names) > MAX_TENSORS:
                raise CheckpointError(
                    f"{file.name} holds {len(names):,} tensors, but at most {MAX_TENSORS:,} are read: choose "
                    "another file"
                )
            slices = {name: weights.get_slice(name) for name in names}
            return FileHeader(
                shapes={name: tuple(part.get_shape()) for name, part in slices.items()},
                dtypes={name: str(part.get_dtype()) for name, part in slices.items()},
                metadata=weights.metadata() or {},
            )
    except (SafetensorError, OSError) as error:
        raise CheckpointError(diagnosis(file)) from error


def open_file(file: Path) -> Any:
    """The reader of safetensors, which has no types of its own."""
    opener: Any = safetensors.safe_open  # pyright: ignore[reportUnknownMemberType]
    return opener(file, framework="pt")


def diagnosis(file: Path) -> str:
    """One sentence on why a file is no readable safetensors file."""
    size = file.stat().st_size
    if size == 0:
        return f"{file.name} is empty (0 bytes): download it again"
    with file.open("rb") as stream:
        start = stream.read(8)
        brace = stream.read(1)
        length = struct.unpack("<Q", start)[0] if brace == b"{" else 0
        header = brace + stream.read(min(length, size) - 1) if 1 <= length <= MAX_HEADER else b""
    if header:
        return _fault_of_header(file.name, header, length, size)
    if length > MAX_HEADER and not start.startswith((GGUF_MAGIC, b"PK\x03\x04", b"<", b"version ")):
        return (
            f"{file.name} says that its header is {length:,} bytes long, but at most {MAX_HEADER:,} are "
            f"read: download it again"
        )
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return f"{file.name} is a PyTorch pickle, which may run code: choose a .safetensors file"
    if start.startswith((b"<", b"version ")):
        return (
            f"{file.name} is a web page or a Git LFS pointer instead of the model: download the file itself"
        )
    kind = "GGUF" if file.suffix == ".gguf" else "safetensors"
    return f"{file.name} is not a readable {kind} file: download it again"


def _fault_of_header(label: str, header: bytes, length: int, size: int) -> str:
    """What is wrong with a file whose header can be read at least as bytes."""
    broken = f"{label} is not a readable safetensors file: download it again"
    if len(header) < length:
        return f"{label} is cut off ({size:,} of {8 + length:,} bytes): download it again"
    try:
        entries: dict[str, Any] = json.loads(header)
        spans = sorted(
            (int(entry["data_offsets"][0]), int(entry["data_offsets"][1]), name)
            for name, entry in entries.items()
            if name != "__metadata__"
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return broken
    end, before = 0, ""
    for first, last, name in spans:
        if first < end:
            return f"{label} is broken ({before} and {name} lie over each other): download it again"
        if first > end or last < first:
            return f"{label} is broken (its header does not say where {name} lies): download it again"
        end, before = last, name
    if size < 8 + length + end:
        return f"{label} is cut off ({size:,} of {8 + length + end:,} bytes): download it again"
    return broken
