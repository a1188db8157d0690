"""The DiT as a genuine host MODEL: the host's layers, kernels, hooks and memory around the core's model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.ldm.common_dit
import comfy.ldm.flux.math
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_prefetch
import comfy.ops
import comfy.patcher_extension
import comfy.supported_models
import comfy.utils
import torch
from torch import Tensor, nn

from ..magref_core.dit.attention import Backend
from ..magref_core.dit.checkpoint import Checkpoint, check_finite, examine, read_checkpoint
from ..magref_core.dit.config import DiTConfig
from ..magref_core.dit.gguf_file import is_gguf
from ..magref_core.dit.model import MagrefDiT, fit_prompt
from ..magref_core.dit.naming import upstream_names
from ..magref_core.dit.summary import contents_of
from ..magref_core.errors import MagrefError
from . import gguf, model_summary
from .attention import chosen_attention
from .quantisation import check_quantisation, correct_formats
from .run_memory import PromptRemembering, keep_for_a_run
from .subject_model import SubjectControlled

logger = logging.getLogger(__name__)

OFFICIAL_SHIFT = 3.0


def host_attention(
    q: Tensor, k: Tensor, v: Tensor, *, heads: int, transformer_options: dict[str, Any]
) -> Tensor:
    attention = chosen_attention(q.device)
    return attention(q, k, v, heads=heads, transformer_options=transformer_options)


def host_rotate(x: Tensor, freqs: Tensor) -> Tensor:
    return comfy.ldm.flux.math.apply_rope1(x, freqs)


class HostMagrefDiT(MagrefDiT):
    """The core's DiT with the host's layers and kernels, wrappers and prefetch; nothing of the method."""

    def __init__(self, *, device=None, dtype=None, operations=None, **unet_config):
        shape = {
            field.name: unet_config[field.name] for field in fields(DiTConfig) if field.name in unet_config
        }
        backend = Backend(
            operations=nn if operations is None else operations,
            attention=host_attention,
            rotate=host_rotate,
            device=device,
            dtype=dtype,
        )
        super().__init__(DiTConfig(**shape), backend)
        # Nodes that replace `forward_orig` feed these float32 layers in the compute dtype.
        layers: list[Any] = [*self.time_embedding, *self.time_projection, self.head.head]
        for layer in layers:
            if hasattr(layer, "comfy_cast_weights"):
                layer.comfy_cast_weights = True

    def forward(
        self, x, timestep, context, clip_fea=None, time_dim_concat=None, transformer_options=None, **kwargs
    ):
        transformer_options = {} if transformer_options is None else transformer_options
        extension = comfy.patcher_extension
        wrappers = extension.get_all_wrappers(extension.WrappersMP.DIFFUSION_MODEL, transformer_options)
        executor = extension.WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        return executor.execute(
            x, timestep, context, clip_fea, time_dim_concat, transformer_options, **kwargs
        )

    def _forward(
        self, x, timestep, context, clip_fea=None, time_dim_concat=None, transformer_options=None, **kwargs
    ):
        """As native Wan does: odd sizes are padded and cut again, `time_dim_concat` adds frames."""
        t, h, w = x.shape[2:]
        parts = [x] if time_dim_concat is None else [x, time_dim_concat]
        x = torch.cat(
            [comfy.ldm.common_dit.pad_to_patch_size(part, self.patch_size) for part in parts], dim=2
        )
        freqs = self.rope_encode(*x.shape[2:], device=x.device, transformer_options=transformer_options)
        out = self.forward_orig(
            x,
            timestep,
            context,
            clip_fea=clip_fea,
            freqs=freqs,
            transformer_options=transformer_options,
            **kwargs,
        )
        return out[:, :, :t, :h, :w]

    def each_block(self, device, transformer_options) -> Iterator[tuple[int, nn.Module]]:
        """Fetch the weights of the next block while this one computes."""
        prefetch = comfy.model_prefetch
        queue = prefetch.make_prefetch_queue(list(self.blocks), device, transformer_options)
        for index, block in enumerate(self.blocks):
            prefetch.prefetch_queue_pop(queue, device, block)
            yield index, block
        prefetch.prefetch_queue_pop(queue, device, None)


def middle_frame(latents: Tensor) -> Tensor:
    """(B, C, T, h, w) -> (B, C, 1, h, w)."""
    middle = latents.shape[2] // 2
    return latents[:, :, middle : middle + 1]


class MagrefLatents(comfy.latent_formats.Wan21):
    """Wan latents whose preview shows the video: the host shows frame 0, where MAGREF has the canvas."""

    latent_rgb_factors_reshape = staticmethod(middle_frame)

    def __init__(self):
        super().__init__()
        # The previewer behind this name would decode frame 0 as well.
        self.taesd_decoder_name = None


class MagrefConfig(comfy.supported_models.WAN21_I2V):
    latent_format = MagrefLatents
    sampling_settings = {"shift": OFFICIAL_SHIFT}  # noqa: RUF012
    # The host takes the first one that the device does well; MAGREF was trained in bf16.
    supported_inference_dtypes = [torch.bfloat16, torch.float16, torch.float32]  # noqa: RUF012

    def get_model(self, state_dict, prefix="", device=None):
        return MagrefBaseModel(self, device=device)


# Nodes of other packs take a model for image-to-video by this name.
MagrefConfig.__name__ = "WAN21_I2V_MAGREF"


class MagrefBaseModel(SubjectControlled, PromptRemembering):
    """The host's Wan I2V model around our DiT."""

    def __init__(self, model_config, model_type=comfy.model_base.ModelType.FLOW, device=None):
        # Past WAN21, which would build the native DiT; the host derives its own variants in this way.
        dit: Any = HostMagrefDiT
        super(comfy.model_base.WAN21, self).__init__(model_config, model_type, device=device, unet_model=dit)
        self.image_to_video = True

    def state_dict_for_saving(self, unet_state_dict, *args, **kwargs):
        if any(gguf.is_packed(weight) for weight in self.diffusion_model.parameters()):
            raise MagrefError(
                "a model from a GGUF file cannot be saved, its weights stay packed: save one from a "
                "safetensors file"
            )
        return super().state_dict_for_saving(unet_state_dict, *args, **kwargs)

    def extra_conds(self, **kwargs):
        text = kwargs.get("cross_attn")
        if text is not None:
            # Of equal length, prompt and negative prompt share one forward.
            kwargs["cross_attn"] = fit_prompt(text, self.model_config.unet_config["text_len"])
        return super().extra_conds(**kwargs)


def load_magref_dit(file: str, model_options: dict[str, Any] | None = None, disable_dynamic: bool = False):
    """Load the DiT as a ModelPatcher.

    Args:
        file: a safetensors or GGUF file, or the index of a sharded model.
        model_options: `dtype`, `fp8_optimizations`, `custom_operations`, `load_device` and `offload_device`,
            as for `comfy.sd.load_diffusion_model`. GGUF files bring operations of their own.
        disable_dynamic: set by the host where it needs a model outside dynamic VRAM.

    Raises:
        CheckpointError: the file is not a whole MAGREF DiT.
    """
    checkpoint = read_checkpoint(Path(file))
    options = dict(model_options or {})
    if is_gguf(checkpoint.files[0]):
        weights, metadata = _gguf_weights(checkpoint), checkpoint.metadata
        options |= {"custom_operations": gguf.GgufOperations}
    else:
        weights, metadata = _safetensors_weights(checkpoint, convert=options.get("custom_operations") is None)
    shape = _examined(weights, metadata, checkpoint.label)
    contents = contents_of(checkpoint, shape)
    patcher = _build(shape, weights, options, disable_dynamic)
    if options.get("custom_operations") is gguf.GgufOperations:
        gguf.patch_at_use(patcher)
    # The host loads the model again through this when it needs another copy of it.
    patcher.cached_patcher_init = (load_magref_dit, (file, model_options))
    keep_for_a_run(patcher)
    patcher.set_attachments(model_summary.ATTACHMENT, contents)
    found = model_summary.numbers(patcher)
    logger.info("MAGREF DiT from %s: %s", checkpoint.label, model_summary.sentence(found))
    return patcher


def _safetensors_weights(
    checkpoint: Checkpoint, *, convert: bool
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights under the model's names; no tensor is touched, so that they still stream from the disk."""
    weights: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for part in checkpoint.files:
        shard, shard_metadata = comfy.utils.load_torch_file(str(part), return_metadata=True)
        weights.update(shard)
        metadata.update(shard_metadata or {})
    if convert:
        check_quantisation(weights, metadata, label=checkpoint.label)
        # What the metadata says is said in the names of the file.
        weights, _ = comfy.utils.convert_old_quants(weights, "", metadata=metadata)
    weights = _renamed(weights)
    if convert:  # the mark of a scaled file is found only without its prefix
        weights, _ = comfy.utils.convert_old_quants(weights, "", metadata={})
        correct_formats(weights)
    return weights, metadata


def _gguf_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    weights = _renamed(gguf.read_weights(checkpoint.files[0]))
    packed = {name: gguf.sample_of(weight) for name, weight in weights.items() if gguf.is_packed(weight)}
    check_finite(packed, label=checkpoint.label)
    return weights


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    names = upstream_names(weights)
    return {names[name]: weight for name, weight in weights.items() if name in names}


def _examined(weights: dict[str, Tensor], metadata: dict[str, str], label: str) -> DiTConfig:
    """Refuse what is not the DiT, and take out what it does not know."""
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    shape, fit = examine(shapes, label=label, metadata=metadata)
    check_finite(weights, label=label)
    if fit.unexpected:
        few = ", ".join(fit.unexpected[:3])
        logger.warning("%s has %d weights that the DiT does not know: %s", label, len(fit.unexpected), few)
    for name in fit.unexpected:
        del weights[name]
    return shape


def _build(shape: DiTConfig, weights: dict[str, Tensor], options: dict[str, Any], disable_dynamic: bool):
    """The host's own steps from weights to patcher, with our config in place of a detected one."""
    management = comfy.model_management
    load_device = options.get("load_device", management.get_torch_device())
    offload_device = options.get("offload_device", management.unet_offload_device())
    model = _config(shape, weights, options, load_device).get_model(weights, "")
    # Looked up here: the host rebinds the name when it starts.
    kind = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = kind(model, load_device=load_device, offload_device=offload_device)
    if not management.is_device_cpu(offload_device):
        model.to(offload_device)
    model.load_model_weights(weights, "", assign=patcher.is_dynamic())
    return patcher


def _config(
    shape: DiTConfig, weights: dict[str, Tensor], options: dict[str, Any], load_device
) -> MagrefConfig:
    """The host's description of the model: shape, quantisation, dtypes, layers."""
    management = comfy.model_management
    config: Any = MagrefConfig({"image_model": "wan2.1", "model_type": "i2v", **asdict(shape)})
    config.quant_config = comfy.utils.detect_layer_quantization(weights, "")
    is_quantised = config.quant_config is not None or any(gguf.is_packed(w) for w in weights.values())
    supported = config.supported_inference_dtypes
    dtype = options.get("dtype") or management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(weights),
        supported_dtypes=supported,
        weight_dtype=None if is_quantised else comfy.utils.weight_dtype(weights),
    )
    manual_cast = management.unet_manual_cast(None if is_quantised else dtype, load_device, supported)
    config.set_inference_dtype(dtype, manual_cast, device=load_device)
    config.custom_operations = options.get("custom_operations")
    config.optimizations["fp8"] = bool(options.get("fp8_optimizations", False))
    return config
