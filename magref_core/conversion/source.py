"""Reading a DiT tensor by tensor, and a tensor piece by piece, without mapping its files into memory.

A mapped file counts as memory of the process as far as it was touched; a plain read does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..dit.checkpoint import examine, read_checkpoint
from ..dit.config import DiTConfig
from ..dit.gguf_file import is_gguf
from ..dit.naming import upstream_names
from ..errors import CheckpointError
from .formats import bytes_of

DTYPES: dict[str, torch.dtype] = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
    "I32": torch.int32,
    "I64": torch.int64,
}
"""Names in the header of a safetensors file -> dtype."""

FLOATS = ("F32", "F16", "BF16")
"""What can be converted."""

PIECE = 2**25
"""Bytes that are read or written at once."""

_BITS = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Where a tensor lies."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    """First byte in the file."""
    num_bytes: int

    def pieces(self, check: Callable[[], None]) -> Iterator[Tensor]:
        """The values in order, flat, at most `PIECE` bytes at a time.

        Args:
            check: called before each; may raise to stop.

        Raises:
            CheckpointError: the file is shorter than its header says, or cannot be read.
        """
        try:
            with self.file.open("rb", buffering=0) as stream:
                stream.seek(self.start)
                for start in range(0, self.num_bytes, PIECE):
                    check()
                    buffer = torch.empty(min(PIECE, self.num_bytes - start), dtype=torch.uint8)
                    _fill(stream, bytes_of(buffer), self.file)
                    yield buffer.view(self.dtype)
        except OSError as error:
            raise CheckpointError(f"{self.file.name} cannot be read ({error}): look at its disk") from error

    def read(self, check: Callable[[], None]) -> Tensor:
        """The whole tensor; see `pieces`."""
        result = torch.empty(self.shape, dtype=self.dtype)
        flat, filled = result.reshape(-1), 0
        for piece in self.pieces(check):
            flat[filled : filled + len(piece)] = piece
            filled += len(piece)
        return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A DiT that can be converted."""

    label: str
    files: tuple[Path, ...]
    tensors: dict[str, Stored]
    """Upstream name -> place, in the order of the files."""
    metadata: dict[str, str]
    config: DiTConfig
    left_out: tuple[str, ...]
    """Names in the files that the DiT does not know."""


def open_source(path: Path) -> Source:
    """Read the headers of a DiT that is whole and not quantised.

    Args:
        path: a safetensors file, or the index of a sharded one.

    Raises:
        CheckpointError: see `read_checkpoint` and `examine`; or the weights are no floats of 16 or 32 bits,
            or a file cannot be read.
    """
    try:
        return _opened(path)
    except OSError as error:
        raise CheckpointError(
            f"{path.name} cannot be read ({error}): look at its disk, and at who may read it"
        ) from error


def _opened(path: Path) -> Source:
    _refuse_gguf(path)
    checkpoint = read_checkpoint(path)
    # What kind of file it is comes before what numbers it holds, as when it is loaded.
    given = upstream_names(checkpoint.shapes)
    shapes = {upstream: checkpoint.shapes[name] for name, upstream in given.items()}
    config, fit = examine(shapes, label=checkpoint.label, metadata=checkpoint.metadata)
    kinds = {
        upstream: checkpoint.dtypes[name]
        for name, upstream in given.items()
        if upstream not in fit.unexpected
    }
    _refuse_other_numbers(kinds, checkpoint.label)
    stored = {name: place for file in checkpoint.files for name, place in read_header(file).items()}
    names = upstream_names(stored)
    tensors = {upstream: stored[name] for name, upstream in names.items()}
    return Source(
        label=checkpoint.label,
        files=checkpoint.files,
        tensors={name: place for name, place in tensors.items() if name not in fit.unexpected},
        metadata=checkpoint.metadata,
        config=config,
        left_out=(*fit.unexpected, *(name for name in stored if name not in names)),
    )


def read_header(file: Path) -> dict[str, Stored]:
    """Name -> place of each tensor of a safetensors file that `read_checkpoint` found whole.

    Raises:
        CheckpointError: it holds a dtype that `DTYPES` lacks, or is GGUF under another name, which
            `read_checkpoint` reads as well.
    """
    _refuse_gguf(file)
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    unknown = sorted({entry["dtype"] for entry in header.values()} - DTYPES.keys())
    if unknown:
        raise _unknown_numbers(file.name, unknown[0])
    return {
        name: Stored(
            file=file,
            dtype=DTYPES[entry["dtype"]],
            shape=tuple(entry["shape"]),
            start=8 + length + entry["data_offsets"][0],
            num_bytes=entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
    }


def _refuse_gguf(file: Path) -> None:
    """By its name or, whatever it is called, by how it starts."""
    if file.suffix == ".gguf" or (file.is_file() and is_gguf(file)):
        raise CheckpointError(
            f"{file.name} is a GGUF file, whose values are rounded already: convert from the official "
            "weights or another .safetensors file of 16 or 32 bits"
        )


def _refuse_other_numbers(kinds: Mapping[str, str], label: str) -> None:
    """Let only floats of 16 or 32 bits pass; `kinds` holds dtypes in the words of the file."""
    others = [name for name, kind in kinds.items() if kind not in FLOATS]
    if not others:
        return
    kind = kinds[others[0]]
    bits = _BITS.search(kind)
    if bits is None or int(bits[0]) > 8:
        raise _unknown_numbers(label, kind)
    words = str(DTYPES.get(kind, kind)).removeprefix("torch.")
    raise CheckpointError(
        f"{label} is in a short format already ({others[0]} is {words}), but weights of 16 or 32 bits are "
        "needed: convert from the official weights, or from a bf16 or fp16 file"
    )


def _unknown_numbers(label: str, kind: str) -> CheckpointError:
    return CheckpointError(
        f"{label} holds numbers of the kind {kind}, which no MAGREF checkpoint has: choose another file"
    )


def _fill(stream: Any, view: memoryview, file: Path) -> None:
    while view:
        count = stream.readinto(view)
        if not count:
            raise CheckpointError(f"{file.name} ended while it was read: download it again")
        view = view[count:]
