"""Which tensors are shortened, and where each lies in the new file; all known before a weight is read."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

import torch

from .formats import Format, Sizes
from .source import DTYPES, Source

SHORTENED = re.compile(r"blocks\.\d+\.((self|cross)_attn\.(q|k|v|o|k_img|v_img)|ffn\.(0|2))\.weight")
"""The matrices of the blocks: 98.5 % of the weights of the 14B model.

All else stays as it is in the source: norms, biases, modulation, patch embedding, the embeddings of time,
text and picture, the head. So it does in Kijai's fp8 files of the Wan models, whose list of what is kept is
norm, head, bias, patch_embedding, text_embedding, time_, img_emb and modulation. They cost 1 GB in float32,
and an error in them reaches every token of every block.
"""

CONVERSION_KEY = "magref_conversion"
"""Entry of the metadata that says what the file was made from."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a tensor lies in the new file."""

    start: int
    """First byte in the file."""
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A tensor of the source and what becomes of it."""

    name: str
    is_shortened: bool
    places: dict[str, Place]
    """Part (`weight`, `weight_scale` ...), or empty for a tensor that stays as it is -> place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The new file before it is written."""

    header: bytes
    jobs: tuple[Job, ...]
    num_bytes: int
    """Size of the whole file."""
    fingerprint: str
    """Of the plan and the source files; what was begun is only gone on with under the same one."""


def make_plan(source: Source, form: Format) -> Plan:
    """Lay out the new file.

    Wide types come first, as safetensors itself does it, so that every tensor lies on a multiple of its size.
    """
    parts: Sizes = {name: (dtype, (0,)) for name, dtype in form.marks}
    owned: dict[str, dict[str, str]] = {}
    for name, stored in source.tensors.items():
        sizes = _sizes(source, name, form)
        if sizes is None:
            owned[name] = {"": name}
            parts[name] = (stored.dtype, stored.shape)
        else:
            layer = name.removesuffix("weight")
            owned[name] = {part: layer + part for part in sizes}
            parts |= {layer + part: size for part, size in sizes.items()}
    order = sorted(parts, key=lambda name: -parts[name][0].itemsize)
    offsets, total = _offsets(order, parts)
    header = _header(order, parts, offsets, _metadata(source, form))
    jobs = tuple(
        Job(
            name=name,
            is_shortened="" not in names,
            places={
                part: Place(
                    start=len(header) + offsets[stored][0], num_bytes=offsets[stored][1] - offsets[stored][0]
                )
                for part, stored in names.items()
            },
        )
        for name, names in owned.items()
    )
    return Plan(
        header=header, jobs=jobs, num_bytes=len(header) + total, fingerprint=_fingerprint(header, source)
    )


def _sizes(source: Source, name: str, form: Format) -> Sizes | None:
    """Parts of a matrix that is shortened; None for what stays as it is."""
    if not SHORTENED.fullmatch(name):
        return None
    rows, columns = source.tensors[name].shape
    return form.sizes(rows, columns) if form.fits(rows, columns) else None


def _offsets(order: list[str], parts: Sizes) -> tuple[dict[str, tuple[int, int]], int]:
    offsets: dict[str, tuple[int, int]] = {}
    end = 0
    for name in order:
        dtype, shape = parts[name]
        start, end = end, end + dtype.itemsize * torch.Size(shape).numel()
        offsets[name] = (start, end)
    return offsets, end


def _header(
    order: list[str],
    parts: Sizes,
    offsets: dict[str, tuple[int, int]],
    metadata: dict[str, str],
) -> bytes:
    entries = {
        name: {
            "dtype": _NAMES[parts[name][0]],
            "shape": list(parts[name][1]),
            "data_offsets": list(offsets[name]),
        }
        for name in order
    }
    text = json.dumps({"__metadata__": metadata} | entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _metadata(source: Source, form: Format) -> dict[str, str]:
    made = {"format": form.name, "source": source.label}
    kept = {name: value for name, value in source.metadata.items() if name != "_quantization_metadata"}
    return {"format": "pt", **kept, CONVERSION_KEY: json.dumps(made, sort_keys=True)}


def _fingerprint(header: bytes, source: Source) -> str:
    total = hashlib.sha256(header)
    for file in source.files:
        status = file.stat()
        total.update(json.dumps([file.name, status.st_size, status.st_mtime_ns]).encode())
    return total.hexdigest()
