"""The MAGREF DiT: Wan 2.1 I2V in shape, with the canvas and its mask beside the noise."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils import checkpoint

from ..errors import ShapeError
from .attention import Backend, Options, patches, replaced_blocks
from .blocks import Block, Head, ImageProjection
from .config import DiTConfig
from .prepared import Prepared
from .rope import THETA, RopeEmbedder, axis_dims, float64_device, grid_positions
from .subjects import SubjectPlan

logger = logging.getLogger(__name__)

RELEASED = DiTConfig()
OWN_ENCODERS = "the encoders that belong to it, such as those of MAGREF Demo Encoders for the demo model"


class MagrefDiT(nn.Module):
    """Velocity of the video latents, given noise, masked guidance, prompt and what CLIP sees of the canvas.

    Keys of the state dict, module paths and the shapes of the calls are those of the upstream Wan code and of
    ComfyUI's, so that checkpoints, LoRAs and nodes made for them fit. Time embedding, modulation, norms,
    residual stream and head are float32, the rest runs in the dtype of the input.

    `gradient_checkpointing = True` recomputes the blocks in the backward pass instead of keeping them.

    Args:
        config: the shape; the defaults are the released checkpoint.
        backend: layer classes, attention and rotary kernel; the default is plain PyTorch. Choose `dtype`
            here: a later `.to(dtype)` would also turn what has to stay float32.

    Source: MAGREF, magref/modules/model.py, `WanModel`. There the rotary embedding is complex and float64,
    and a batch may hold samples of several sizes; here it is real and float32, and a batch has one size.
    """

    model_type = "i2v"
    ref_conv = None
    """Wan nodes ask for it; MAGREF's references stand on the canvas instead."""

    def __init__(self, config: DiTConfig | None = None, backend: Backend | None = None) -> None:
        super().__init__()
        config = DiTConfig() if config is None else config
        backend = Backend() if backend is None else backend
        self.config = config
        self.dtype = backend.dtype
        self.gradient_checkpointing = False
        self.dim, self.ffn_dim, self.freq_dim = config.dim, config.ffn_dim, config.freq_dim
        self.text_dim, self.text_len = config.text_dim, config.text_len
        self.in_dim, self.out_dim, self.patch_size = config.in_dim, config.out_dim, config.patch_size
        self.num_heads, self.num_layers, self.eps = config.num_heads, config.num_layers, config.eps

        self.patch_embedding = backend.operations.Conv3d(
            config.in_dim,
            config.dim,
            kernel_size=config.patch_size,
            stride=config.patch_size,
            device=backend.device,
            dtype=torch.float32,
        )
        self.text_embedding = nn.Sequential(
            backend.linear(config.text_dim, config.dim),
            nn.GELU(approximate="tanh"),
            backend.linear(config.dim, config.dim),
        )
        self.time_embedding = nn.Sequential(
            backend.linear32(config.freq_dim, config.dim),
            nn.SiLU(),
            backend.linear32(config.dim, config.dim),
        )
        self.time_projection = nn.Sequential(nn.SiLU(), backend.linear32(config.dim, 6 * config.dim))
        self.img_emb = ImageProjection(config, backend)
        self.blocks = nn.ModuleList(Block(config, backend) for _ in range(config.num_layers))
        self.head = Head(config, backend)
        self.rope_embedder = RopeEmbedder(config.head_dim, THETA, axis_dims(config.head_dim))

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        clip_fea: Tensor | None = None,
        *,
        transformer_options: Options | None = None,
        subjects: SubjectPlan | None = None,
        prepared: Prepared | None = None,
    ) -> Tensor:
        """Predict the velocity.

        A last row or column of latents that fills no whole patch is dropped, as officially.

        Args:
            x: (B, 36, T, H, W) in the compute dtype; noisy latents, then the 20 channels of masked guidance.
            timestep: (B,) or (B, T), 1000 sigma.
            context: (B, L, 4096) text, zero after its end. Fewer than 512 rows are filled up with zeros (the
                model attends to them too), more are cut off with a warning.
            clip_fea: (B, N, 1280) of the canvas from `clip_pixels`; None leaves the image branch out.
            transformer_options: patches of a host.
            subjects: the controls of subjects; None for the plain model.
            prepared: what is known already of this very `context` and `clip_fea`; it is ignored of others
                and where a host replaces blocks.

        Returns:
            (B, 16, T, H, W) float32, noise minus video.

        Raises:
            ShapeError: channels of x, text or image tokens do not fit the model.
        """
        x = self.whole_patches(x)
        freqs = self.rope_encode(*x.shape[2:], device=x.device, transformer_options=transformer_options)
        return self.forward_orig(
            x,
            timestep,
            context,
            clip_fea=clip_fea,
            freqs=freqs,
            transformer_options=transformer_options,
            subjects=subjects,
            prepared=prepared,
        )

    def whole_patches(self, x: Tensor) -> Tensor:
        """Drop the last latents along each axis that fill no whole patch."""
        t, h, w = (size - size % patch for size, patch in zip(x.shape[2:], self.patch_size, strict=True))
        return x[:, :, :t, :h, :w]

    def forward_orig(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        clip_fea: Tensor | None = None,
        freqs: Tensor | None = None,
        transformer_options: Options | None = None,
        subjects: SubjectPlan | None = None,
        prepared: Prepared | None = None,
        **_ignored: Any,
    ) -> Tensor:
        """As `forward`, for x in whole patches and with the turns of its tokens handed in.

        `transformer_options` is written to: it gets `grid_sizes`, `total_blocks`, `block_type` and, block by
        block, `block_index`, as patches made for ComfyUI's Wan expect. Other keywords that ComfyUI passes to
        Wan models are ignored: they feed branches that MAGREF lacks.
        """
        self._check(x, context, clip_fea)
        transformer_options = {} if transformer_options is None else transformer_options
        freqs = self.rope_encode(*x.shape[2:], device=x.device) if freqs is None else freqs
        tokens = self.patch_embedding(x.float())  # (B, D, T, H, W) in patches
        grid = tokens.shape[2:]
        e, e0 = self.embed_time(t)
        text = context.to(x.dtype)
        if prepared is not None and (
            prepared.text is not text
            or prepared.image is not clip_fea
            or replaced_blocks(transformer_options)
        ):
            prepared = None
        context, num_image_tokens = (
            self.embed_context(text, clip_fea)
            if prepared is None
            else (prepared.context, prepared.num_image_tokens)
        )
        transformer_options |= {"grid_sizes": grid, "total_blocks": len(self.blocks), "block_type": "double"}
        tokens = tokens.flatten(2).transpose(1, 2)  # (B, L, D)
        for index, block in self.each_block(x.device, transformer_options):
            transformer_options["block_index"] = index
            args = {
                "img": tokens,
                "txt": context,
                "vec": e0,
                "pe": freqs,
                "transformer_options": transformer_options,
            }
            extras: dict[str, Any] = {}
            if subjects is not None and (controls := subjects.at(index)) is not None:
                extras["subjects"] = controls
            if prepared is not None and prepared.keys_values:
                extras["keys_values"] = prepared.keys_values[index]
            tokens = self._run(index, block, args, num_image_tokens, extras)
            for patch in patches(transformer_options, "double_block"):
                seen = {"img": tokens, "x": x, "vec": e, "block_index": index, "img_offset": 0}
                tokens = patch(seen | {"transformer_options": transformer_options})["img"]
        return self.unpatchify(self.head(tokens, e), grid)

    def each_block(
        self, device: torch.device, transformer_options: Options
    ) -> Iterator[tuple[int, nn.Module]]:
        """The blocks with their numbers; a host may fetch weights ahead here."""
        yield from enumerate(self.blocks)

    def _run(
        self,
        index: int,
        block: nn.Module,
        args: Options,
        num_image_tokens: int | None,
        extras: dict[str, Any],
    ) -> Tensor:
        """Run one block, or what the host has put in its place; not every block knows the extras."""

        def original(args: Options) -> Options:
            inputs: dict[str, Any] = {
                "e": args["vec"],
                "freqs": args["pe"],
                "context": args["txt"],
                "context_img_len": num_image_tokens,
                "transformer_options": args["transformer_options"],
                **extras,
            }
            if self.gradient_checkpointing and torch.is_grad_enabled():
                recompute = cast("Any", checkpoint.checkpoint)  # pyright: ignore[reportUnknownMemberType]
                return {"img": recompute(block, args["img"], use_reentrant=False, **inputs)}
            return {"img": block(args["img"], **inputs)}

        replacement = replaced_blocks(args["transformer_options"]).get(("double_block", index))
        if replacement is None:
            return original(args)["img"]
        return replacement(args, {"original_block": original})["img"]

    def embed_time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps (B,) or (B, T) -> e (B, T, D) for the head, e0 (B, T, 6, D) for the blocks; float32."""
        features = timestep_features(t.flatten(), self.freq_dim)
        e = self.time_embedding(features).unflatten(0, (len(t), -1))
        return e, self.time_projection(e).unflatten(-1, (6, self.dim))

    def embed_context(self, context: Tensor, clip_fea: Tensor | None) -> tuple[Tensor, int | None]:
        """Text (B, L, text_dim) and image tokens -> ((B, N + 512, D), N), or ((B, 512, D), None)."""
        text = self.text_embedding(fit_prompt(context, self.text_len))
        if clip_fea is None or not clip_fea.shape[1]:
            return text, None
        image = self.img_emb(clip_fea.to(context.dtype))
        return torch.cat([image, text], dim=1), image.shape[1]

    def rope_encode(
        self,
        t: int,
        h: int,
        w: int,
        t_start: float = 0,
        steps_t: int | None = None,
        steps_h: int | None = None,
        steps_w: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        transformer_options: Options | None = None,
    ) -> Tensor:
        """Turns of the tokens of T x H x W latents.

        Args:
            t: latent frames, rounded to whole patches.
            h: latent rows, likewise.
            w: latent columns, likewise.
            t_start: position of the first frame.
            steps_t: tokens along the frames, if not one per patch.
            steps_h: the same for rows.
            steps_w: the same for columns.
            device: where to put them.
            dtype: ignored; positions are float32.
            transformer_options: `rope_options` stretch and shift the axes, see `rope.grid_positions`.

        Returns:
            (1, L, 1, d / 2, 2, 2) float32.
        """
        grid = [(size + patch // 2) // patch for size, patch in zip((t, h, w), self.patch_size, strict=True)]
        rope_options = (transformer_options or {}).get("rope_options")
        positions = grid_positions(
            grid, steps=(steps_t, steps_h, steps_w), start=t_start, options=rope_options, device=device
        )
        return self.rope_embedder(positions).movedim(1, 2)

    def unpatchify(self, x: Tensor, grid_sizes: Sequence[int]) -> Tensor:
        """(B, T H W, pt ph pw C) -> (B, C, T pt, H ph, W pw), where grid_sizes is (T, H, W) in patches."""
        t, h, w = grid_sizes
        pt, ph, pw = self.patch_size
        pattern = "b (t h w) (pt ph pw c) -> b c (t pt) (h ph) (w pw)"
        return rearrange(x[:, : t * h * w], pattern, t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)

    def _check(self, x: Tensor, context: Tensor, clip_fea: Tensor | None) -> None:
        config = self.config
        if x.shape[1] != config.in_dim:
            raise ShapeError(
                f"the model is given {x.shape[1]} channels, but takes {config.in_dim}: "
                f"{config.out_dim} of noise and {config.in_dim - config.out_dim} of masked guidance"
            )
        if context.shape[-1] != config.text_dim:
            raise ShapeError(
                f"the prompt is {context.shape[-1]} channels wide, but the model takes {config.text_dim}: "
                "use "
                + ("the text encoder umt5-xxl" if config.text_dim == RELEASED.text_dim else OWN_ENCODERS)
            )
        if clip_fea is not None and clip_fea.shape[-1] != config.clip_dim:
            raise ShapeError(
                f"the image tokens are {clip_fea.shape[-1]} channels wide, but the model takes "
                f"{config.clip_dim}: use "
                + (
                    "the CLIP vision model ViT-H (clip_vision_h)"
                    if config.clip_dim == RELEASED.clip_dim
                    else OWN_ENCODERS
                )
            )


def timestep_features(timesteps: Tensor, dim: int) -> Tensor:
    """Cosines, then sines, of the timesteps at falling speeds.

    Computed in float64: at timestep 900 float32 is off by 5e-5, which the network amplifies.

    Args:
        timesteps: (B,) in [0, 1000], may be fractional.
        dim: channels, even.

    Returns:
        (B, dim) float32.

    Source: MAGREF, magref/modules/model.py, `sinusoidal_embedding_1d`.
    """
    device = float64_device(timesteps.device)
    exponents = torch.arange(dim // 2, dtype=torch.float64, device=device) / (dim // 2)
    angles = timesteps.to(device, torch.float64)[:, None] * torch.exp(-math.log(THETA) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1).float().to(timesteps.device)


def fit_prompt(context: Tensor, text_len: int) -> Tensor:
    """Fill a prompt up with zero rows, or cut it off: (B, L, C) -> (B, text_len, C)."""
    num_rows = context.shape[1]
    if num_rows > text_len:
        _warn_of_long_prompt(num_rows, text_len)
        return context[:, :text_len]
    return F.pad(context, (0, 0, 0, text_len - num_rows)) if num_rows < text_len else context


@cache
def _warn_of_long_prompt(num_rows: int, text_len: int) -> None:
    # Cached: a run asks the model dozens of times with the same prompt. The price: as long as the process
    # lives, another prompt of just as many tokens is cut off without a warning.
    logger.warning(
        "the prompt has %d tokens, but the model reads %d: the rest is cut off, shorten it",
        num_rows,
        text_len,
    )
