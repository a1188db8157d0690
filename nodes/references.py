"""Step 1: pictures from files and from other nodes become named references."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..magref_core.canvas.references import Reference, check_names
from ..magref_core.errors import MagrefError, ShapeError
from ..magref_core.segmentation.cutout import cut_out
from ..magref_core.segmentation.given import GivenMask
from . import host
from .entries import EXAMPLE, Entry, check_any, in_use, input_file, parse_entries, read_file
from .notices import show_notices
from .pictures import save_reference
from .types import References

MAX_SOCKETS = 16
BLOCK = 1 << 20
"""Bytes that are read at a time."""


class LoadReferences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefLoadReferences",
            display_name="MAGREF Load References",
            category="MAGREF/references",
            description="The pictures of the people, things and places that shall act in the video, each "
            "with a name and a kind; from the input folder, from other nodes, or both.",
            search_aliases=["magref", "reference images", "subjects", "load image"],
            inputs=[
                io.String.Input(
                    "references",
                    default="[]",
                    multiline=True,
                    placeholder=EXAMPLE,
                    tooltip="The gallery. Its value is a JSON list with one entry per subject: file (in "
                    "ComfyUI's input folder) or image (a socket such as image_1), name (without slashes or "
                    "commas), kind (person, object or background), word (what stands for @name in the "
                    "prompt), photos (more files of the same subject), "
                    "off (true: not used), keep_whole (true: not cut out). A connected picture without an "
                    "entry is called like its socket and is an object.",
                    extra_dict={"widgetType": "MAGREF_GALLERY"},
                ),
                io.Autogrow.Input(
                    "images", template=_sockets(io.Image, "image", "One picture, [0, 1]."), optional=True
                ),
                io.Autogrow.Input(
                    "masks",
                    template=_sockets(
                        io.Mask,
                        "mask",
                        "The cut-out of the picture with the same number: 1 on the subject. Load Image's "
                        "MASK is 1 on the transparent part: put InvertMask between. When a picture is "
                        "disconnected the later ones move up and their masks do not: check the pairs "
                        "then.",
                    ),
                    optional=True,
                ),
            ],
            outputs=[References.Output(id="references", display_name="references")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, references: str | None, images: Any = None, masks: Any = None) -> bool | str:
        # The host hands over the empty groups of sockets as well, and None for a text that comes over a link.
        try:
            for entry in in_use(parse_entries(references or "")):
                for file in entry.files:
                    input_file(file)
        except MagrefError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, references: str | None, **_: Any) -> str:
        """Changes whenever the list or a file in it does; a list that comes over a link is not known here."""
        digest = hashlib.sha256((references or "").encode())
        for entry in in_use(parse_entries(references or "")):
            for file in entry.files:
                _digest_file(digest, input_file(file))
        return digest.hexdigest()

    @classmethod
    def execute(cls, references, images=None, masks=None) -> io.NodeOutput:
        images = {name: image for name, image in (images or {}).items() if image is not None}
        masks = {name: mask for name, mask in (masks or {}).items() if mask is not None}
        entries = parse_entries(references)
        named = {entry.image for entry in entries}
        entries += [Entry(image=socket, name=socket) for socket in images if socket not in named]
        used = in_use(entries)
        check_any(entries, used, else_do="connect a picture to image_1, or ")
        check_names([name for entry in used for name in entry.names])
        _check_masks_have_pictures(entries, masks)
        loaded, shown, warnings = _load_all(used, images, masks)
        show_notices(warnings, cls.hidden)
        return io.NodeOutput(loaded, ui={"magref_references": shown})


def _sockets(kind: Any, prefix: str, tooltip: str) -> io.Autogrow.TemplateNames:
    """Sockets image_1 ... image_16 of one type; a new one appears when the last is used."""
    names = [f"{prefix}_{number}" for number in range(1, MAX_SOCKETS + 1)]
    return io.Autogrow.TemplateNames(kind.Input(prefix, optional=True, tooltip=tooltip), names=names, min=1)


def _check_masks_have_pictures(entries: list[Entry], masks: dict[str, Tensor]) -> None:
    sockets = {entry.image for entry in entries}
    for name in masks:
        wanted = name.replace("mask", "image")
        if wanted not in sockets:
            raise MagrefError(f"{name} is connected but {wanted} is not: connect the picture it belongs to")


def _digest_file(digest: Any, file: Path) -> None:
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            digest.update(block)


def _load_all(
    entries: list[Entry], images: dict[str, Tensor], masks: dict[str, Tensor]
) -> tuple[tuple[Reference, ...], list[dict[str, Any]], list[str]]:
    """The references in order, what the page needs to show each, and what is doubtful about their masks."""
    bar = comfy.utils.ProgressBar(sum(len(entry.names) for entry in entries))
    loaded, shown, warnings = [], [], []
    for entry in entries:
        for number in range(len(entry.names)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            reference, doubts = _load(entry, number, images, masks)
            loaded.append(reference)
            warnings += doubts
            source = {"image": entry.image} if number == 0 and entry.image else {}
            shown.append(save_reference(reference) | source)
            bar.update(1)
    return tuple(loaded), shown, warnings


def _load(
    entry: Entry, number: int, images: dict[str, Tensor], masks: dict[str, Tensor]
) -> tuple[Reference, tuple[str, ...]]:
    """Picture `number` of an entry, counted from 0: its own file or socket, then its photos; and warnings."""
    name = entry.names[number]
    if number > 0:
        return read_file(entry.photos[number - 1], name=name, entry=entry), ()
    if entry.file is not None:
        return read_file(entry.file, name=name, entry=entry), ()
    socket = str(entry.image)
    if socket not in images:
        raise MagrefError(
            f"{name} names the socket {socket!r}, but nothing is connected there: connect a picture"
        )
    if len(images[socket]) != 1:
        raise ShapeError(
            f"{socket} carries {len(images[socket])} pictures, but one is needed for each subject: "
            "pick one with Get Image from Batch (ImageFromBatch)"
        )
    picture, alpha = host.picture_from_image(images[socket])
    reference = Reference(
        name=name,
        kind=entry.kind,
        image=picture,
        alpha=alpha,
        subject=entry.name if entry.photos else None,
        keep_whole=entry.keep_whole,
        word=entry.word,
    )
    mask = masks.get(socket.replace("image", "mask"))
    return (reference, ()) if mask is None else cut_out(reference, GivenMask(mask=host.flat_mask(mask)))
