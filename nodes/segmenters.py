"""The cut-out back-ends that need files of the host's `models`, and which of all is used."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import folder_paths
import torch

from ..magref_core.canvas.references import Reference
from ..magref_core.errors import CheckpointError, MagrefError
from ..magref_core.segmentation.alpha import OwnAlpha
from ..magref_core.segmentation.cutout import CutOut, Segmenter
from ..magref_core.segmentation.faces import FaceCropped, FaceFinder, FacePrompter, load_face_finder
from ..magref_core.segmentation.grabcut import GrabCut
from ..magref_core.segmentation.guess import GuessedPrompt
from ..magref_core.segmentation.prompts import Box, GivenPrompt, Point, Prompt, Prompter
from ..magref_core.segmentation.sam import SegmentAnything
from ..magref_core.segmentation.sam_checkpoint import load_sam

SAMS, FACES = "sams", "insightface"
SUFFIXES = {".pth", ".pt"}
RELEASED = "sam_vit_"
"""How the names of the released Segment Anything files begin."""
AUTO = "auto"
PACKS = ("antelopev2", "buffalo_l")
"""Of insightface, the best first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What the node's inputs say about the back-end."""

    method: str
    sam_model: str = AUTO
    sam_prompt: str = "subject"
    points: tuple[Point, ...] = ()
    box: Box | None = None
    face_crop: Any = "whole"
    face_number: int = 1


@dataclass(kw_only=True, slots=True)
class Named:
    """A back-end that remembers whom it cut out."""

    segmenter: Segmenter
    name: str
    done: list[str] = field(default_factory=list[str])

    def __call__(self, reference: Reference, /) -> CutOut:
        self.done.append(reference.name)
        return self.segmenter(reference)


def register_folders() -> None:
    """Let the host know models/sams and models/insightface, as other packs call them."""
    for folder, suffixes in ((SAMS, SUFFIXES), (FACES, {".onnx"})):
        path = str(Path(folder_paths.models_dir) / folder)
        folder_paths.add_model_folder_path(folder, path)
        paths, known = folder_paths.folder_names_and_paths[folder]
        folder_paths.folder_names_and_paths[folder] = (paths, set(known) | suffixes)


def sam_names() -> list[str]:
    """Files of models/sams to choose from."""
    if SAMS not in folder_paths.folder_names_and_paths:  # before the host asks for the nodes
        return []
    names = folder_paths.get_filename_list(SAMS)
    return sorted(name for name in names if Path(name).suffix in SUFFIXES)


def segmenter_for(choice: Choice, references: Sequence[Reference]) -> tuple[Segmenter, list[Named]]:
    """The back-end, and what it consists of, for saying afterwards which was used.

    Args:
        choice: what the node's inputs say.
        references: those that shall be cut out. Where `AUTO` needs no model for any of them, none is loaded.

    Raises:
        MagrefError: a package or a file that the choice needs is missing or broken.
    """
    used: list[Named] = []
    segmenter: Segmenter = OwnAlpha()
    if choice.method == AUTO:
        if any(reference.alpha is None and reference.kind != "background" for reference in references):
            used.append(_separator(choice))
        segmenter = OwnAlpha(fallback=used[0] if used else GrabCut())
    elif choice.method != "transparency":
        segmenter = _separator(choice)
        used.append(segmenter)
    if choice.face_crop != "whole":
        finder = face_finder(required=True)
        assert finder is not None
        segmenter = FaceCropped(
            segmenter=segmenter, find=finder, crop=choice.face_crop, number=choice.face_number
        )
    return segmenter, used


def _separator(choice: Choice) -> Named:
    """Segment Anything where it is asked for, or is installed and works; else GrabCut."""
    if choice.method == "segment_anything":
        return _segment_anything(choice)
    if choice.method == AUTO and is_sam_installed():
        try:
            return _segment_anything(choice)
        except MagrefError as error:
            return Named(segmenter=GrabCut(), name=f"GrabCut, not by Segment Anything ({error})")
    return Named(segmenter=GrabCut(), name="GrabCut")


def _segment_anything(choice: Choice) -> Named:
    """The back-end with the model that is chosen, on its device.

    Raises:
        MagrefError: the package or the model is missing or broken.
    """
    name = choice.sam_model
    if name == AUTO:
        name = max(sam_names(), key=_preference, default="")
    path = folder_paths.get_full_path(SAMS, name) if name else None
    if path is None:
        what = f"'{name}' is not in" if name else "there is no Segment Anything file in"
        raise CheckpointError(
            f"{what} ComfyUI's models/{SAMS}: put sam_vit_b, sam_vit_l or sam_vit_h (.pth) there and press "
            "R, or choose grabcut"
        )
    sam = SegmentAnything(
        model=load_to_device(Path(path)),
        prompter=_prompter(choice),
        check_interrupted=comfy.model_management.throw_exception_if_processing_interrupted,
    )
    return Named(segmenter=sam, name=f"Segment Anything ({name})")


def _preference(name: str) -> tuple[bool, int]:
    """Released files come first, since other families share the folder; the larger is the better."""
    path = folder_paths.get_full_path(SAMS, name)
    return Path(name).name.startswith(RELEASED), Path(path).stat().st_size if path else 0


def is_sam_installed() -> bool:
    """Whether both the package and a file for it are there."""
    return importlib.util.find_spec("segment_anything") is not None and bool(sam_names())


def _prompter(choice: Choice) -> Prompter | None:
    if choice.points or choice.box:
        return GivenPrompt(prompt=Prompt(points=choice.points, box=choice.box))
    if choice.sam_prompt == "automatic":
        return None
    finder = face_finder(required=False)
    faces = FacePrompter(find=finder, number=choice.face_number, crop="person") if finder else None
    return GuessedPrompt(segmenter=GrabCut(), faces=faces)


class _Holder(torch.nn.Module):
    """The host notes on a model where it is, which Sam itself does not allow."""

    def __init__(self, sam: torch.nn.Module, device: torch.device) -> None:
        super().__init__()
        self.sam = sam
        self.device = device


def load_to_device(file: Path) -> torch.nn.Module:
    """Load a checkpoint through the host's memory management: other models make room for it.

    Raises:
        CheckpointError, MagrefError: see `load_sam`.
    """
    management = comfy.model_management
    offload = management.unet_offload_device()
    holder = _Holder(load_sam(file), offload)
    patcher = comfy.model_patcher.ModelPatcher(
        holder, load_device=management.get_torch_device(), offload_device=offload
    )
    management.load_models_gpu([patcher], force_full_load=True)
    return holder.sam


def face_folders() -> list[Path]:
    """Folders of the host's models with insightface's ONNX files, the best pack first."""
    folders = [
        folder
        for root in folder_paths.folder_names_and_paths.get(FACES, ((), ()))[0]
        for folder in (*sorted((Path(root) / "models").glob("*")), Path(root))
        if folder.is_dir() and any(folder.glob("*.onnx"))
    ]
    rank = {name: place for place, name in enumerate(PACKS)}
    return sorted(folders, key=lambda folder: rank.get(folder.name, len(PACKS)))


def face_finder(*, required: bool) -> FaceFinder | None:
    """The detector of the best insightface pack in the host's models, or None.

    Raises:
        MagrefError: it is required, and the package or a pack is missing or broken.
    """
    folders = face_folders()
    if not folders:
        if required:
            raise CheckpointError(
                "there is no insightface model: put the .onnx files of antelopev2 or buffalo_l into "
                f"ComfyUI's models/{FACES}/models/antelopev2 (or buffalo_l), or set face_crop to whole"
            )
        return None
    try:
        return load_face_finder(folders[0])
    except MagrefError:
        if required:
            raise
        return None
