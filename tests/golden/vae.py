"""Encoding and decoding by the host's VAE through `magref_core.latents`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from magref_core.latents import DROP_FRAMES, decode_video, encode_canvas
from tests import pack

from . import host
from .report import Row, compare

FILE = "vae.safetensors"
FILES = (FILE, host.VAE_WEIGHTS)

LIMIT = 3e-5


@torch.no_grad()
def check(folder: Path) -> Iterator[Row]:
    """Encode and decode every case; yields nothing if the files or the host are absent."""
    if not (all((folder / name).is_file() for name in FILES) and pack.is_host_at_hand()):
        return
    tensors = load_file(folder / FILE)
    vae = host.load_vae(folder)
    yield compare(FILE, "", "mean", vae.latent_format.latents_mean.flatten(), tensors["mean"], 1e-6)
    yield compare(FILE, "", "std", vae.latent_format.latents_std.flatten(), tensors["std"], 1e-6)
    for case in sorted({name.split(".")[0] for name in tensors if "." in name}):
        if f"{case}.mu" in tensors:
            yield from _check_encode(vae, case, tensors)
        else:
            yield from _check_decode(vae, case, tensors)


def _check_encode(vae: host.HostVAE, case: str, tensors: dict[str, Tensor]) -> Iterator[Row]:
    video, golden = tensors[f"{case}.video"].float(), tensors[f"{case}.latent"]
    yield compare(FILE, case, "latents", vae.encode(video[None])[0], golden, LIMIT)
    if video.shape[1] == 1:
        latents = encode_canvas(video[:, 0], 1, vae.encode)
        yield compare(FILE, case, "encode_canvas", latents[0], golden, LIMIT)


def _check_decode(vae: host.HostVAE, case: str, tensors: dict[str, Tensor]) -> Iterator[Row]:
    latents, golden = tensors[f"{case}.latent"].float()[None], tensors[f"{case}.video"]
    whole = decode_video(latents, vae.decode, drop_frames=0)
    yield compare(FILE, case, "video", whole[0], golden, LIMIT)
    if golden.shape[1] > DROP_FRAMES:
        shortened = decode_video(latents, vae.decode)
        yield compare(FILE, case, "video, first frames dropped", shortened[0], golden[:, DROP_FRAMES:], LIMIT)
