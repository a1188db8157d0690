"""Weight files of the DiT: what is in them, whether it fits, and what is wrong if not.

Everything but `check_finite` and `load_dit` looks at names and shapes alone, so that no weight is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .attention import Backend
from .config import DiTConfig
from .families import Shapes, refuse_other_models, size_of
from .gguf_file import is_gguf
from .gguf_file import read_header as read_gguf_header
from .model import MagrefDiT
from .naming import upstream_names
from .safetensors_file import FileHeader, open_file
from .safetensors_file import read_header as read_safetensors_header
from .shards import INDEX_SUFFIX, check_shards, few, read_index

HEAD_DIM = 128
"""Channels of a head in every Wan model; the weights do not tell."""

PATCH_CELLS = 4
"""Latent cells of a token, 1 x 2 x 2, in every Wan model."""

TEXT_LEN_KEY = "text_len"
"""Metadata: rows of text that a model was trained with, where they are not the 512 of the release."""

SMALL_WEIGHT = 2**19
"""`check_finite` looks at tensors of up to so many elements."""
SAMPLE = 2**12
"""Of larger ones it looks at so many elements at their start."""

_BLOCK = re.compile(r"blocks\.(\d+)\.")

_QUANTISATION_SUFFIXES = (
    ".comfy_quant",
    ".weight_scale",
    ".weight_scale_2",
    ".input_scale",
    ".pre_quant_scale",
    ".scale_weight",
    ".scale_input",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What the headers of a model's files say."""

    label: str
    """How messages call it: the name of the chosen file."""
    files: tuple[Path, ...]
    """One file, or all shards."""
    shapes: dict[str, tuple[int, ...]]
    """Name as in the files -> shape."""
    dtypes: dict[str, str]
    """Name as in the files -> dtype in the file's words: F32, BF16, F8_E4M3; Q4_K and the like in GGUF."""
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    """Free text in the headers; of ours, only `TEXT_LEN_KEY` is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How a set of weights fits the model."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    """Name, shape given, shape needed."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the headers of a model.

    Args:
        path: a safetensors or GGUF file, or the `.safetensors.index.json` of a sharded model with its shards
            beside it.

    Returns:
        Files, names, shapes and dtypes.

    Raises:
        CheckpointError: a file is missing, empty, cut off, broken or of another kind, or the index does not
            fit its shards.
    """
    places = read_index(path) if path.name.endswith(INDEX_SUFFIX) else None
    files = (path,) if places is None else tuple(path.parent / name for name in sorted(set(places.values())))
    headers = {file.name: _header(file) for file in files}
    if places is not None:
        check_shards(headers, places, label=path.name)
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for header in headers.values():
        shapes |= header.shapes
        dtypes |= header.dtypes
        metadata |= header.metadata
    if not shapes:
        raise CheckpointError(f"{path.name} holds no weights: download it again")
    return Checkpoint(label=path.name, files=files, shapes=shapes, dtypes=dtypes, metadata=metadata)


def _header(file: Path) -> FileHeader:
    if not file.is_file():
        raise CheckpointError(f"{file.name} does not exist: choose another file")
    if not is_gguf(file):
        return read_safetensors_header(file)
    header = read_gguf_header(file)
    return FileHeader(
        shapes={tensor.name: tensor.shape for tensor in header.tensors},
        dtypes={tensor.name: tensor.kind for tensor in header.tensors},
        metadata={key: value for key, value in header.metadata.items() if isinstance(value, str)},
    )


def infer_config(shapes: Shapes, *, label: str, metadata: Mapping[str, str] | None = None) -> DiTConfig:
    """Read the shape of the model off its weights.

    Biases, norms and tables are asked rather than matrices, which a quantised file may hold packed.

    Args:
        shapes: upstream names and shapes.
        label: how messages call the file.
        metadata: of the file; tells `text_len`, which no weight does.

    Returns:
        The config.

    Raises:
        CheckpointError: the metadata are broken, a weight that tells the shape is missing, or the shape is
            none of a Wan model.
    """
    size = partial(size_of, shapes=shapes, label=label)
    dim = size("head.modulation", 2)
    config: dict[str, Any] = {
        "dim": dim,
        "ffn_dim": size("blocks.0.ffn.0.bias", 0),
        "num_layers": len({block[1] for name in shapes if (block := _BLOCK.match(name))}),
        "in_dim": size("patch_embedding.weight", 1),
        "out_dim": size("head.head.bias", 0) // PATCH_CELLS,
        "clip_dim": size("img_emb.proj.0.bias", 0),
    }
    if dim % HEAD_DIM:
        raise CheckpointError(
            f"{label} has {dim} channels, but Wan models have a multiple of {HEAD_DIM}: choose another file"
        )
    for name, key in (("text_embedding.0.weight", "text_dim"), ("time_embedding.0.weight", "freq_dim")):
        if name in shapes and not _is_quantised(name, shapes):
            config[key] = size(name, 1)
    if (text_len := (metadata or {}).get(TEXT_LEN_KEY)) is not None:
        if not text_len.isdecimal():
            raise CheckpointError(
                f"{label} says that its {TEXT_LEN_KEY} is '{text_len}', but a whole number is needed: "
                "download it again"
            )
        config["text_len"] = int(text_len)
    return DiTConfig(num_heads=dim // HEAD_DIM, **config)


def compare_weights(shapes: Shapes, config: DiTConfig) -> Fit:
    """Set the weights of a file against those of the model; quantised matrices are not measured."""
    needed = {
        name: tuple(value.shape)
        for name, value in MagrefDiT(config, Backend(device="meta")).state_dict().items()
    }
    measured = [name for name in needed if name in shapes and not _is_quantised(name, shapes)]
    return Fit(
        missing=tuple(name for name in needed if name not in shapes),
        unexpected=tuple(
            name
            for name in shapes
            if name not in needed and not name.endswith((*_QUANTISATION_SUFFIXES, "scaled_fp8"))
        ),
        wrong_shape=tuple(
            (name, shapes[name], needed[name]) for name in measured if shapes[name] != needed[name]
        ),
    )


def check_fit(fit: Fit, *, label: str) -> None:
    """Refuse weights that would leave the model incomplete; unexpected ones are the caller's to mention.

    Raises:
        CheckpointError: weights are missing or of another shape.
    """
    if fit.missing:
        raise CheckpointError(
            f"{label} lacks {len(fit.missing)} weights of the MAGREF DiT ({few(list(fit.missing))}): "
            "download it again or choose another file"
        )
    if fit.wrong_shape:
        name, given, needed = fit.wrong_shape[0]
        raise CheckpointError(
            f"{label} has {len(fit.wrong_shape)} weights of the wrong shape, such as {name} with {given} "
            f"instead of {needed}: choose a MAGREF checkpoint"
        )


def examine(
    shapes: Shapes, *, label: str, metadata: Mapping[str, str] | None = None
) -> tuple[DiTConfig, Fit]:
    """All checks that need no weight, in the order in which their messages help most.

    Args:
        shapes: upstream names and shapes.
        label: how messages call the file.
        metadata: as for `infer_config`.

    Returns:
        The config, and how the weights fit it (nothing missing, nothing of the wrong shape).

    Raises:
        CheckpointError: another kind of file, or weights missing or of the wrong shape.
    """
    refuse_other_models(shapes, label=label)
    config = infer_config(shapes, label=label, metadata=metadata)
    fit = compare_weights(shapes, config)
    check_fit(fit, label=label)
    return config, fit


def check_finite(weights: Mapping[str, Tensor], *, label: str) -> None:
    """Refuse weights with NaN or infinite values.

    Reading a 14B model through would take minutes, so tensors of up to `SMALL_WEIGHT` elements are looked at
    (norms, biases, modulation, head and scales), and the first `SAMPLE` elements of larger ones. A training
    run that diverged or a broken conversion shows there; a single spoiled number in a matrix
    does not; it is searched for when a run fails, see `finite`.

    Args:
        weights: by any names; quantised ones are skipped.
        label: how messages call the file.

    Raises:
        CheckpointError: some value is not finite.
    """
    spoiled = [
        name
        for name, weight in weights.items()
        if type(weight) in (Tensor, torch.nn.Parameter)
        and weight.is_floating_point()
        and not _looked_at(weight).float().isfinite().all()
    ]
    if spoiled:
        raise CheckpointError(
            f"{label} has weights that are not finite numbers, {len(spoiled)} at least ({few(spoiled)}): "
            "download it again or choose another file"
        )


def _looked_at(weight: Tensor) -> Tensor:
    return weight if weight.numel() <= SMALL_WEIGHT else weight.flatten()[:SAMPLE]


def load_dit(path: Path, backend: Backend | None = None) -> MagrefDiT:
    """Load the DiT without a host.

    Args:
        path: as for `read_checkpoint`; GGUF files and those quantised with scales need the host's layers and
            are refused.
        backend: what to build it with; matrices are converted to its dtype.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: see `read_checkpoint`, `examine` and `check_finite`.
    """
    checkpoint = read_checkpoint(path)
    names = upstream_names(checkpoint.shapes)
    shapes = {upstream: checkpoint.shapes[name] for name, upstream in names.items()}
    if is_gguf(checkpoint.files[0]):
        raise CheckpointError(f"{path.name} is a GGUF file: load it in ComfyUI, or choose a bf16 file")
    if any(_is_quantised(name, shapes) for name in shapes):
        raise CheckpointError(
            f"{path.name} is quantised with scales: load it in ComfyUI, or choose a bf16 file"
        )
    config, fit = examine(shapes, label=checkpoint.label, metadata=checkpoint.metadata)
    backend = Backend() if backend is None else backend
    model = MagrefDiT(config, replace(backend, device="meta"))
    dtypes = {name: value.dtype for name, value in model.state_dict().items()}
    weights = {
        names[name]: weight.to(device=backend.device, dtype=dtypes[names[name]])
        for name, weight in _weights(checkpoint.files)
        if name in names and names[name] not in fit.unexpected
    }
    check_finite(weights, label=checkpoint.label)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _weights(files: tuple[Path, ...]) -> Iterator[tuple[str, Tensor]]:
    for file in files:
        with open_file(file) as weights:
            for name in weights.keys():  # noqa: SIM118
                yield name, weights.get_tensor(name)


def _is_quantised(name: str, shapes: Shapes) -> bool:
    layer = name.rpartition(".")[0]
    return name.endswith(".weight") and any(layer + suffix in shapes for suffix in _QUANTISATION_SUFFIXES)
