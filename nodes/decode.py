"""Step 7: latents become frames; those of the canvas are dropped."""

from __future__ import annotations

from fractions import Fraction

import comfy.utils
from comfy_api.latest import InputImpl, Types, io

from ..magref_core.errors import MagrefError, ShapeError
from ..magref_core.latents import Tiling, decode_video
from ..magref_core.sizes import FRAME_STRIDE, PIXEL_STRIDE
from . import host
from .checks import check_latent
from .memory_plan import decode_within_memory

MIN_TILE = 64
MIN_WINDOW = 8


class DecodeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefDecodeVideo",
            display_name="MAGREF Decode Video",
            category="MAGREF/decode",
            description="Turns latents into frames and drops the first ones, which show the canvas and not "
            "the video.",
            search_aliases=["magref", "vae decode", "trim video"],
            inputs=[
                io.Latent.Input("latent", tooltip="From the sampler, all frames of it."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE that encoded the canvas."),
                io.Float.Input(
                    "fps",
                    default=15.0,
                    min=1.0,
                    max=120.0,
                    step=1.0,
                    tooltip="Frames per second of the VIDEO output.",
                ),
                io.Int.Input(
                    "drop_frames",
                    default=4,
                    min=0,
                    max=1024,
                    advanced=True,
                    tooltip="Frames dropped at the start. 4 is what MAGREF needs; 0 shows the canvas frames "
                    "too.",
                ),
                io.Int.Input(
                    "tile_size",
                    default=0,
                    min=0,
                    max=4096,
                    step=32,
                    advanced=True,
                    tooltip="Side in pixels of the tiles that are decoded one by one, 0 for the whole "
                    "frame at once. Smaller tiles need less memory and more time. Below 256 seams may "
                    "show.",
                ),
                io.Int.Input(
                    "tile_frames",
                    default=0,
                    min=0,
                    max=4096,
                    step=4,
                    advanced=True,
                    tooltip="Frames per window in time, 0 for all at once. The decoder's memory does not "
                    "grow with the length, so this only bounds the size of one answer; windows can show "
                    "where they meet.",
                ),
            ],
            outputs=[
                io.Image.Output(id="images", display_name="images"),
                io.Video.Output(id="video", display_name="video"),
            ],
        )

    @classmethod
    def validate_inputs(cls, tile_size: int | None, tile_frames: int | None) -> bool | str:
        try:
            tiling_of(tile_size or 0, tile_frames or 0)  # None: the value comes over a link
        except ShapeError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, latent, vae, fps, drop_frames, tile_size, tile_frames) -> io.NodeOutput:
        if fps <= 0:  # over a link, where the host does not look
            raise MagrefError(f"fps is {fps:g}, but a video needs a rate above 0: use 15")
        host.check_vae(vae)
        latents = latent["samples"]
        check_latent(latents)
        num_frames = (latents.shape[2] - 1) * FRAME_STRIDE + 1
        if drop_frames >= num_frames:
            raise ShapeError(
                f"the latent holds {num_frames} frames and drop_frames is {drop_frames}, so nothing would "
                f"be left: generate at least {drop_frames + 1} frames or drop fewer"
            )
        bar = comfy.utils.ProgressBar(1)
        tiling = tiling_of(tile_size, tile_frames)
        video = decode_within_memory(
            vae,
            latents,
            tile_size,
            lambda: decode_video(
                latents,
                lambda part: host.decode_with(vae, part),
                drop_frames=drop_frames,
                tiling=tiling,
                progress=bar.update_absolute,
            ),
        )
        images = host.image_from_video(video)
        components = Types.VideoComponents(images=images, frame_rate=Fraction(fps).limit_denominator(1001))
        return io.NodeOutput(images, InputImpl.VideoFromComponents(components))


def tiling_of(tile_size: int, tile_frames: int) -> Tiling | None:
    """Sizes in pixels and frames -> in latent cells and latent frames; a quarter overlaps.

    Raises:
        ShapeError: tiles too small to overlap.
    """
    if 0 < tile_size < MIN_TILE:
        raise ShapeError(
            f"tile_size is {tile_size} pixels, but a tile needs at least {MIN_TILE}: "
            f"use {MIN_TILE} or more, or 0 for no tiles"
        )
    if 0 < tile_frames < MIN_WINDOW:
        raise ShapeError(
            f"tile_frames is {tile_frames}, but a window needs at least {MIN_WINDOW}: "
            f"use {MIN_WINDOW} or more, or 0 for no windows"
        )
    if not tile_size and not tile_frames:
        return None
    side, frames = tile_size // PIXEL_STRIDE, tile_frames // FRAME_STRIDE
    return Tiling(
        height=side,
        width=side,
        overlap=side // 4,
        frames=frames,
        frame_overlap=max(1, frames // 4) if frames else 0,
    )
