"""Files of the small demo model: marked with their kind, told their sizes, checked by their hashes.

A bundle is a folder laid out like ComfyUI's `models`, with one safetensors file per part in
`<bundle>/<folder>/` and `hashes.json` beside the folders. The sizes of a part, which a host knows by heart
only for released models, are JSON in the metadata of its file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

import safetensors
from safetensors import SafetensorError

from .dit.checkpoint import read_checkpoint
from .errors import CheckpointError

Kind = Literal["dit", "vae", "text_encoder", "clip_vision"]
"""Which part of the model a file holds."""

KIND_KEY = "magref_demo"
"""Entry of the metadata that names the kind."""
CONFIG_KEY = "config"
"""Entry of the metadata that holds the sizes as a JSON object."""

SIZES: dict[Kind, tuple[str, ...]] = {
    "dit": ("text_len",),
    "vae": (),
    "text_encoder": (
        "vocab_size",
        "d_model",
        "d_kv",
        "d_ff",
        "num_heads",
        "num_layers",
        "text_len",
    ),
    "clip_vision": (
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "image_size",
        "patch_size",
    ),
}
"""Whole numbers that the config of each kind must name; what the weights tell by themselves is left out."""

HASHES = "hashes.json"
"""Path in the bundle, with slashes -> SHA-256 of the file in hexadecimal."""

FOLDERS = ("clip_vision", "diffusion_models", "text_encoders", "vae")
"""The folders of a bundle, by the host's names."""

RESTORE = "restore the folder models/demo of ComfyUI-MAGREF, for instance by installing the pack again"


def part_metadata(kind: Kind, config: Mapping[str, Any]) -> dict[str, str]:
    """What the metadata of a part's safetensors file must say.

    Args:
        kind: which part.
        config: sizes, of types that JSON knows.
    """
    return {KIND_KEY: kind, CONFIG_KEY: json.dumps(dict(config), sort_keys=True)}


def kind_of(file: Path) -> Kind | None:
    """The kind of a part of the demo model; None for every other file, readable or not."""
    try:
        kind = _metadata(file).get(KIND_KEY)
    except (SafetensorError, OSError):
        return None
    return cast("Kind", kind) if kind in get_args(Kind) else None


def read_config(file: Path, kind: Kind) -> dict[str, Any]:
    """The sizes of a part of the demo model.

    Args:
        file: a safetensors file.
        kind: what it must be.

    Returns:
        The config that `part_metadata` was given.

    Raises:
        CheckpointError: the file is unreadable, another kind of model, or its metadata lacks the sizes.
    """
    read_checkpoint(file)  # says what is wrong with a broken file
    metadata = _metadata(file)
    found = metadata.get(KIND_KEY)
    if found != kind:
        given = "an ordinary model" if found is None else f"the {_words(found)} of the MAGREF demo"
        raise CheckpointError(
            f"{file.name} is {given}, but the {_words(kind)} of the MAGREF demo is needed: choose a file "
            "named magref_demo; released models have loader nodes of their own"
        )
    config = _json_object(metadata.get(CONFIG_KEY, ""))
    if config is None or not all(type(config.get(size)) is int and config[size] > 0 for size in SIZES[kind]):
        raise CheckpointError(
            f"the metadata of {file.name} lacks the sizes of the model (entry '{CONFIG_KEY}'): {RESTORE}"
        )
    return config


def verify(file: Path) -> None:
    """Refuse a file of a bundle that is not the one that was shipped.

    Args:
        file: `<bundle>/<folder>/<name>`.

    Raises:
        CheckpointError: the file or the list of hashes is missing, the list is damaged or does not name the
            file, or the file has another content.
    """
    bundle = file.parents[1]
    name = file.relative_to(bundle).as_posix()
    expected = _hashes(bundle).get(name)
    if expected is None:
        raise CheckpointError(f"the demo file {name} is not listed in {HASHES}: {RESTORE}")
    if not file.is_file():
        raise CheckpointError(f"the demo file {name} is missing: {RESTORE}")
    if hash_of(file) != expected:
        raise CheckpointError(
            f"the demo file {name} is not the one that was shipped (its SHA-256 differs): {RESTORE}"
        )


def hashes_of(bundle: Path) -> dict[str, str]:
    """What `hashes.json` must say of the files of a bundle as they are now."""
    files = sorted(file for folder in FOLDERS for file in (bundle / folder).glob("*.safetensors"))
    return {file.relative_to(bundle).as_posix(): hash_of(file) for file in files}


def hash_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            total.update(block)
    return total.hexdigest()


def _hashes(bundle: Path) -> dict[str, str]:
    try:
        hashes = _json_object((bundle / HASHES).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"the list of demo files, {HASHES}, is missing: {RESTORE}") from error
    except (OSError, UnicodeDecodeError):
        hashes = None
    if hashes is None:
        raise CheckpointError(f"the list of demo files, {HASHES}, cannot be read: {RESTORE}")
    return {name: str(value) for name, value in hashes.items()}


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        content: Any = json.loads(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", content) if isinstance(content, dict) else None


def _metadata(file: Path) -> dict[str, str]:
    # safetensors has no types of its own
    opener: Any = safetensors.safe_open  # pyright: ignore[reportUnknownMemberType]
    with opener(file, framework="pt") as weights:
        return weights.metadata() or {}


def _words(kind: str) -> str:
    return {
        "dit": "DiT",
        "vae": "VAE",
        "text_encoder": "text encoder",
        "clip_vision": "CLIP vision model",
    }.get(kind, repr(kind))
