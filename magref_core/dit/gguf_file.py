"""GGUF files of a DiT: what their header says, checked before anything is believed.

The header is read with bounds on every count and length, so that a broken or hostile file costs nothing;
no weight is read. Tensors of the file are found by offset and size.

Source: ggml-org/ggml, docs/gguf.md; city96/ComfyUI-GGUF, tools/convert.py, for `orig_shape` and 5-D weights.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError
from .gguf_blocks import BLOCK_FORMATS

MAGIC = b"GGUF"

PLAIN = {"F32": 4, "F16": 2, "BF16": 2}
"""Formats that are no blocks: bytes of a weight."""

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

ARCHITECTURES = ("wan", "pig", "cow")
"""Of Wan models; the last two are what some converters write for every model."""

MAX_COUNT = 2**16
"""Most tensors, or entries of metadata, that a header may tell of."""
MAX_DIMENSIONS = 8
MAX_NAME = 2**16
MAX_LIST = 2**20
MAX_HEADER = 2**24
"""Bytes of the longest header that is read, all its texts and lists together; that of the DiT has 100,000."""

_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    29: "IQ1_M",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
}
"""Number in the file -> name, also of formats that are only named here."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Type of a value -> its letter in `struct`."""
_STRING, _ARRAY = 8, 9

_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."

Value = str | int | float | bool | tuple[int | float | bool, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufTensor:
    """Where a tensor lies, and what it is."""

    name: str
    kind: str
    """A key of `PLAIN` or of `BLOCK_FORMATS`."""
    shape: tuple[int, ...]
    """As PyTorch has it: the file lists sizes the other way round, or tells the original shape apart."""
    columns: int
    """Weights of a row as packed; the last side of `shape` unless the original shape is told apart."""
    offset: int
    """Bytes from the start of the file."""
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufHeader:
    """What the header of a GGUF file says."""

    metadata: dict[str, Value]
    """Without texts in lists, which only language models have."""
    tensors: tuple[GgufTensor, ...]


def is_gguf(file: Path) -> bool:
    """Whether the file starts as GGUF does, whatever its name says."""
    with file.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def read_header(file: Path) -> GgufHeader:
    """Read and check the header.

    Raises:
        CheckpointError: the file is no GGUF of a Wan model, is cut off or broken, or holds weights in a
            format that cannot be unpacked.
    """
    with file.open("rb") as stream:
        return _Reader(stream, file.name, file.stat().st_size).header()


def map_weights(file: Path, tensors: Iterable[GgufTensor]) -> dict[str, Tensor]:
    """The tensors of a file, mapped into memory: the system reads what is touched, and no more.

    Args:
        file: as given to `read_header`.
        tensors: of its header.

    Returns:
        Name -> the weight in its dtype and shape for the plain formats; (rows, bytes of a row) uint8 for
        blocks, which `gguf_blocks.dequantise` unpacks.
    """
    whole = torch.from_file(str(file), shared=False, size=file.stat().st_size, dtype=torch.uint8)
    weights: dict[str, Tensor] = {}
    for tensor in tensors:
        part = whole[tensor.offset : tensor.offset + tensor.size]
        if tensor.kind in PLAIN:
            weights[tensor.name] = part.view(_DTYPES[tensor.kind]).view(tensor.shape)
        else:
            form = BLOCK_FORMATS[tensor.kind]
            weights[tensor.name] = part.view(-1, tensor.columns // form.elements * form.size)
    return weights


class _Reader:
    """One pass over a header, in which nothing is larger than the file or than any header."""

    def __init__(self, stream: BinaryIO, label: str, size: int):
        self.stream, self.label, self.size = stream, label, size

    def header(self) -> GgufHeader:
        if self._take(4) != MAGIC:
            raise CheckpointError(
                f"{self.label} is not a GGUF file: choose another file or download it again"
            )
        version = self._number("I")
        if version not in (2, 3):
            raise CheckpointError(
                f"{self.label} is of GGUF version {version}, but versions 2 and 3 of little-endian machines "
                "are read: convert the model again with a current converter"
            )
        num_tensors, num_values = self._count("tensors"), self._count("values")
        metadata: dict[str, Value] = {}
        for _ in range(num_values):
            key = self._text()
            value = self._value(self._number("I"))
            if value is not None:
                metadata[key] = value
            if key == "general.architecture":
                self._check_architecture(value)
        found = [self._tensor(metadata) for _ in range(num_tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
            raise CheckpointError(f"{self.label} is broken (its alignment is {alignment}): download it again")
        start = -(-self.stream.tell() // alignment) * alignment
        tensors = tuple(replace(tensor, offset=start + tensor.offset) for tensor in found)
        self._check_places(tensors, alignment)
        return GgufHeader(metadata=metadata, tensors=tensors)

    def _take(self, count: int) -> bytes:
        """Bytes of the header; a length beyond the file or `MAX_HEADER` is never asked of the system."""
        at = self.stream.tell()
        if count > self.size - at:
            raise CheckpointError(
                f"{self.label} is cut off or broken (its header asks for {count:,} bytes at byte {at:,}, "
                f"but the file has {self.size:,}): download it again"
            )
        if at + count > MAX_HEADER:
            raise CheckpointError(
                f"{self.label} is broken (its header goes on to byte {at + count:,}, but at most "
                f"{MAX_HEADER:,} bytes are read): download it again"
            )
        return self.stream.read(count)

    def _number(self, letter: str) -> int:
        return struct.unpack(f"<{letter}", self._take(struct.calcsize(f"<{letter}")))[0]

    def _count(self, what: str) -> int:
        count = self._number("Q")
        if count > MAX_COUNT:
            raise CheckpointError(
                f"{self.label} is broken (its header tells of {count:,} {what}, but a model has at most "
                f"{MAX_COUNT:,}): download it again"
            )
        return count

    def _text(self) -> str:
        length = self._number("Q")
        if length > MAX_NAME:
            raise CheckpointError(
                f"{self.label} is broken (a name in its header is {length:,} bytes long, but at most "
                f"{MAX_NAME:,} are read): download it again"
            )
        return self._take(length).decode("utf-8", errors="replace")

    def _value(self, kind: int) -> Value | None:
        """A value of the metadata; None for lists of texts, which are passed over."""
        if kind == _STRING:
            return self._take(self._number("Q")).decode("utf-8", errors="replace")
        if kind == _ARRAY:
            return self._list(self._number("I"), self._number("Q"))
        letter = self._letter(kind)
        return struct.unpack(f"<{letter}", self._take(struct.calcsize(f"<{letter}")))[0]

    def _list(self, kind: int, length: int) -> tuple[int | float | bool, ...] | None:
        if length > MAX_LIST:
            raise CheckpointError(
                f"{self.label} is broken (a list in its header has {length:,} items, but at most "
                f"{MAX_LIST:,} are read): download it again"
            )
        if kind == _STRING:
            for _ in range(length):
                self._take(self._number("Q"))
            return None
        letter = self._letter(kind)
        width = struct.calcsize(f"<{letter}")
        return tuple(item[0] for item in struct.iter_unpack(f"<{letter}", self._take(length * width)))

    def _letter(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise CheckpointError(
                f"{self.label} is broken (its header has a value of the unknown type {kind}): "
                "download it again"
            )
        return _SCALARS[kind]

    def _check_architecture(self, value: Value | None) -> None:
        if value not in ARCHITECTURES:
            raise CheckpointError(
                f"{self.label} is a GGUF file of the architecture '{value}', but MAGREF is of the "
                f"architecture 'wan': choose a GGUF file of MAGREF"
            )

    def _tensor(self, metadata: dict[str, Value]) -> GgufTensor:
        """An entry of the list of tensors; its offset is still that behind the header."""
        name = self._text()
        dimensions = self._number("I")
        if dimensions > MAX_DIMENSIONS:
            raise CheckpointError(
                f"{self.label} is broken ({name} has {dimensions} dimensions, but at most {MAX_DIMENSIONS} "
                "are read): download it again"
            )
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        kind = self._kind(name, self._number("I"))
        offset = self._number("Q")
        size = self._size(name, shape, kind)
        columns = shape[-1] if shape else 1
        original = metadata.get(_ORIGINAL_SHAPE + name)
        if original is not None:
            shape = self._original(name, shape, original)
        return GgufTensor(name=name, kind=kind, shape=shape, columns=columns, offset=offset, size=size)

    def _kind(self, name: str, number: int) -> str:
        kind = _TYPES.get(number, f"type {number}")
        if kind not in PLAIN and kind not in BLOCK_FORMATS:
            raise CheckpointError(
                f"{self.label} holds {name} in the GGUF format {kind}, but only "
                f"{', '.join((*PLAIN, *BLOCK_FORMATS))} are read: choose another quantisation of the model"
            )
        return kind

    def _size(self, name: str, shape: tuple[int, ...], kind: str) -> int:
        if kind in PLAIN:
            return math.prod(shape) * PLAIN[kind]
        form = BLOCK_FORMATS[kind]
        if not shape or shape[-1] % form.elements:
            raise CheckpointError(
                f"{self.label} is broken ({name} has rows of {shape[-1] if shape else 0} weights, but {kind} "
                f"needs a multiple of {form.elements}): download it again"
            )
        return math.prod(shape) // form.elements * form.size

    def _original(self, name: str, shape: tuple[int, ...], told: Value) -> tuple[int, ...]:
        sides = tuple(side for side in told if isinstance(side, int)) if isinstance(told, tuple) else ()
        if math.prod(sides) != math.prod(shape) or any(side < 1 for side in sides):
            raise CheckpointError(
                f"{self.label} is broken ({name} has {math.prod(shape):,} weights, but its original shape is "
                f"told as {told}): download it again"
            )
        return sides

    def _check_places(self, tensors: tuple[GgufTensor, ...], alignment: int) -> None:
        placed = sorted(tensors, key=lambda tensor: tensor.offset)
        needed = max((tensor.offset + tensor.size for tensor in tensors), default=0)
        if needed > self.size:
            raise CheckpointError(
                f"{self.label} is cut off ({self.size:,} of {needed:,} bytes): download it again"
            )
        astray = [tensor.name for tensor in tensors if tensor.offset % alignment]
        if astray:
            raise CheckpointError(
                f"{self.label} is broken ({astray[0]} does not lie at a multiple of {alignment} bytes): "
                "download it again"
            )
        for tensor, following in pairwise(placed):
            if tensor.offset + tensor.size > following.offset:
                raise CheckpointError(
                    f"{self.label} is broken ({tensor.name} and {following.name} lie over each other): "
                    "download it again"
                )
        [(name, times)] = Counter(tensor.name for tensor in tensors).most_common(1) or [("", 0)]
        if times > 1:
            raise CheckpointError(
                f"{self.label} is broken (it holds {name} {times} times): download it again"
            )
