"""Beside the graph: a weight file becomes a shorter one in ComfyUI's folder of models."""

from __future__ import annotations

from pathlib import Path, PurePath

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import io, ui

from ..magref_core.conversion.convert import Watch, convert
from ..magref_core.conversion.formats import FORMATS
from ..magref_core.conversion.report import Report, report_of
from ..magref_core.errors import CheckpointError, MagrefError
from .demo import check_shipped
from .loaders import FOLDER, model_names
from .notices import show_notices

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
PROGRESS_STEPS = 1000


class MagrefConvertModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefConvertModel",
            display_name="MAGREF Convert Model",
            category="MAGREF/loaders",
            description="Writes a shorter copy of a MAGREF checkpoint into models/diffusion_models, for "
            "cards with "
            "less memory, and says what each matrix loses. A stopped run goes on where it was.",
            search_aliases=["magref", "quantize", "fp8", "nvfp4", "int8", "bf16", "convert"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=model_names(),
                    tooltip="The official weights (.safetensors.index.json), or one file in fp32, bf16 or "
                    "fp16.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="fp8",
                    tooltip="How the blocks' matrices are stored. fp8 and int8 halve bf16, nvfp4 quarters "
                    "it and is "
                    "fast on Blackwell cards; fp8_scaled is fp8 in the form that older programs read.",
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="Name of the new file in models/diffusion_models, a folder before it allowed. "
                    "Empty: "
                    "name of the model, and the format.",
                ),
                io.Boolean.Input(
                    "overwrite", default=False, tooltip="Whether a file of that name may be replaced."
                ),
            ],
            outputs=[
                io.String.Output(
                    id="file", display_name="file", tooltip="Name of the new file, for MAGREF DiT Loader."
                ),
                io.String.Output(
                    id="report", display_name="report", tooltip="Sizes and losses, as a table in Markdown."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name: str | None) -> bool | str:
        try:
            if name is not None and name.strip():  # None: the value comes over a link
                target_in(Path(), name)
        except MagrefError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, model, format, name, overwrite) -> io.NodeOutput:
        source = folder_paths.get_full_path(FOLDER, model)
        if source is None:
            raise CheckpointError(
                f"there is no model {model!r} in ComfyUI's models/{FOLDER}: put it there and press R"
            )
        folder = Path(folder_paths.get_folder_paths(FOLDER)[0])
        target = target_in(folder, name.strip() or f"{stem_of(model)}_{format}")
        check_shipped(Path(source))
        bar = comfy.utils.ProgressBar(PROGRESS_STEPS)

        def show(done: int, total: int) -> None:
            bar.update_absolute(PROGRESS_STEPS * done // max(total, 1), PROGRESS_STEPS)

        watch = Watch(
            check=comfy.model_management.throw_exception_if_processing_interrupted, on_progress=show
        )
        report = convert(Path(source), target, format, overwrite=overwrite, watch=watch)
        notices = save_beside(target, report)
        file, text = str(target.relative_to(folder)), report.to_text()
        show_notices(notices, cls.hidden, facts=[text])
        return io.NodeOutput(file, text, ui=ui.PreviewText(text))


def stem_of(model: str) -> str:
    """The name of a model without its suffix and folder."""
    return PurePath(model).name.removesuffix(INDEX_SUFFIX).removesuffix(SUFFIX).removesuffix(".sft")


def save_beside(target: Path, report: Report) -> list[str]:
    """Write the report of every matrix beside the new file, and note in it where that is.

    Returns:
        A sentence if that failed: the new file is whole all the same.
    """
    file = report_of(target)
    try:
        report.save(file)
    except OSError as error:
        return [
            f"{target.name} is written and whole, but {file.name} could not be "
            f"({error.strerror or error}): if you need the losses of every matrix, make room for it and "
            "convert once more with overwrite"
        ]
    report.notes.append(f"Every matrix by itself: {file.name}, beside the new file.")
    return []


def target_in(folder: Path, name: str) -> Path:
    """Where a new file goes, inside the folder of models.

    Args:
        folder: ComfyUI's first folder of diffusion models.
        name: what the user calls it, with or without a suffix.

    Raises:
        MagrefError: the name leads out of the folder, or is none.
    """
    stem = name.strip().removesuffix(SUFFIX)
    parts = PurePath(stem.replace("\\", "/"))
    if not parts.name or parts.is_absolute() or ".." in parts.parts or ":" in stem or "\0" in stem:
        raise MagrefError(
            f"the name of the new file is {name!r}, but it must lie in ComfyUI's models/{FOLDER}: give a "
            "bare name "
            "such as magref_fp8, or one with a folder such as MAGREF/magref_fp8"
        )
    target = folder / parts.with_name(parts.name + SUFFIX)
    if not target.resolve().is_relative_to(folder.resolve()):
        raise MagrefError(
            f"the name of the new file is {name!r}, which leads out of ComfyUI's models/{FOLDER} through a "
            "link: "
            "give a bare name such as magref_fp8"
        )
    return target
