"""Step 1: pictures from files and from other nodes become named references."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..magref_core.canvas.references import KINDS, Kind, Reference, check_names, read_picture
from ..magref_core.errors import MagrefError, ShapeError
from ..magref_core.segmentation.cutout import cut_out
from ..magref_core.segmentation.given import GivenMask
from . import host
from .types import References

MAX_SOCKETS = 16
EXAMPLE = '[{"file": "alice.png", "name": "alice", "kind": "person"}]'
FIELDS = {"file", "image", "name", "kind"}


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
                    tooltip="JSON list with one entry per picture: file (in ComfyUI's input folder) or "
                    "image (a socket such as image_1), name (without slashes or commas) and kind (person, "
                    "object or background). A connected picture without an entry is called like its "
                    "socket and is an object.",
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
        )

    @classmethod
    def validate_inputs(cls, references: str | None, images: Any = None, masks: Any = None) -> bool | str:
        # The host hands over the empty groups of sockets as well, and None for a text that comes over a link.
        try:
            for entry in parse_entries(references or ""):
                if entry.file is not None:
                    input_file(entry.file)
        except MagrefError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, references: str | None, **_: Any) -> str:
        """Changes whenever the list or a file in it does; a list that comes over a link is not known here."""
        digest = hashlib.sha256((references or "").encode())
        for entry in parse_entries(references or ""):
            if entry.file is not None:
                digest.update(input_file(entry.file).read_bytes())
        return digest.hexdigest()

    @classmethod
    def execute(cls, references, images=None, masks=None) -> io.NodeOutput:
        images = {name: image for name, image in (images or {}).items() if image is not None}
        masks = {name: mask for name, mask in (masks or {}).items() if mask is not None}
        entries = parse_entries(references)
        named = {entry.image for entry in entries}
        entries += [Entry(image=socket, name=socket) for socket in images if socket not in named]
        if not entries:
            raise MagrefError(
                "no reference is given, but at least one picture is needed: connect a picture to image_1, "
                f"or write an entry such as {EXAMPLE}"
            )
        check_names([entry.name for entry in entries])
        _check_masks_have_pictures(entries, masks)
        return io.NodeOutput(tuple(_load(entry, images, masks) for entry in entries))


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One item of the list of references; either `file` or `image` is given."""

    name: str
    kind: Kind = "object"
    file: str | None = None
    """In the input folder."""
    image: str | None = None
    """Socket, such as image_1."""


def _sockets(kind: Any, prefix: str, tooltip: str) -> io.Autogrow.TemplateNames:
    """Sockets image_1 ... image_16 of one type; a new one appears when the last is used."""
    names = [f"{prefix}_{number}" for number in range(1, MAX_SOCKETS + 1)]
    return io.Autogrow.TemplateNames(kind.Input(prefix, optional=True, tooltip=tooltip), names=names, min=1)


def parse_entries(text: str) -> list[Entry]:
    """Read the list of references.

    Args:
        text: JSON as `EXAMPLE` shows; an empty text is an empty list. A missing name is taken from the file
            or socket, a missing kind is "object".

    Raises:
        MagrefError: the text is not such a list, or names are empty, doubled or contain slashes.
    """
    try:
        items = json.loads(text) if text.strip() else []
    except RecursionError as error:
        raise MagrefError(f"the references are nested too deeply: write a list such as {EXAMPLE}") from error
    except json.JSONDecodeError as error:
        raise MagrefError(
            f"the references are not JSON ({error.msg} in line {error.lineno}): "
            f"write a list such as {EXAMPLE}"
        ) from error
    if not isinstance(items, list):
        raise MagrefError(
            f"the references are a {type(items).__name__}, but a list is needed such as {EXAMPLE}"
        )
    entries = [_entry(number, item) for number, item in enumerate(items, start=1)]
    if entries:
        check_names([entry.name for entry in entries])
    return entries


def _entry(number: int, item: Any) -> Entry:
    if not isinstance(item, dict) or not all(isinstance(value, str) for value in item.values()):
        raise MagrefError(
            f"reference {number} is {json.dumps(item)}, but an entry of texts is needed as in {EXAMPLE}"
        )
    if unknown := sorted(set(item) - FIELDS):
        raise MagrefError(
            f"reference {number} has the field {unknown[0]!r}: use only {', '.join(sorted(FIELDS))}"
        )
    if ("file" in item) == ("image" in item):
        raise MagrefError(
            f"reference {number} must have either a file or an image socket: write one as in {EXAMPLE}"
        )
    entry = Entry(**{"name": Path(item.get("file") or item.get("image", "")).stem, **item})
    if entry.kind not in KINDS:
        raise MagrefError(f"{entry.name} is of kind {entry.kind!r}: use {', '.join(KINDS)}")
    return entry


def input_file(name: str) -> Path:
    """A file of the input folder by its name there, such as "alice.png" or "cast/alice.png".

    Raises:
        MagrefError: it is not in the folder, or the name or a link leads outside.
    """
    folder = Path(folder_paths.get_input_directory()).resolve()
    try:
        path = (folder / name.removesuffix(" [input]")).resolve()
        exists = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, not allowed, or links in a circle
        raise MagrefError(
            f"the picture name {shorten(name, 40)!r} cannot be a file's: give its name in ComfyUI's input "
            "folder"
        ) from error
    if not path.is_relative_to(folder):
        raise MagrefError(
            f"the picture {name!r} lies outside ComfyUI's input folder: copy it there and give its name in "
            "the folder"
        )
    if not exists:
        raise MagrefError(
            f"the picture {name!r} is not in ComfyUI's input folder: upload it with Load Image, or correct "
            "the name"
        )
    return path


def load_files(text: str) -> tuple[Reference, ...]:
    """The references of a list that names files alone, without any socket.

    Args:
        text: see `parse_entries`.

    Raises:
        MagrefError: the list cannot be used, is empty or names a socket, or a file is no picture.
    """
    entries = parse_entries(text)
    if not entries:
        raise MagrefError(f"there is no reference: give at least one picture as in {EXAMPLE}")
    for entry in entries:
        if entry.file is None:
            raise MagrefError(
                f"{entry.name} names the socket {entry.image!r}, but no socket is connected here: give a "
                "file of the input folder"
            )
    return tuple(_load(entry, {}, {}) for entry in entries)


def _check_masks_have_pictures(entries: list[Entry], masks: dict[str, Tensor]) -> None:
    sockets = {entry.image for entry in entries}
    for name in masks:
        wanted = name.replace("mask", "image")
        if wanted not in sockets:
            raise MagrefError(f"{name} is connected but {wanted} is not: connect the picture it belongs to")


def _load(entry: Entry, images: dict[str, Tensor], masks: dict[str, Tensor]) -> Reference:
    if entry.file is not None:
        picture, alpha = read_picture(input_file(entry.file), label=entry.file)
        return Reference(name=entry.name, kind=entry.kind, image=picture, alpha=alpha)
    socket = str(entry.image)
    if socket not in images:
        raise MagrefError(
            f"{entry.name} names the socket {socket!r}, but nothing is connected there: connect a picture"
        )
    if len(images[socket]) != 1:
        raise ShapeError(
            f"{socket} carries {len(images[socket])} pictures, but one is needed for each subject: "
            "pick one with Get Image from Batch (ImageFromBatch)"
        )
    picture, alpha = host.picture_from_image(images[socket])
    reference = Reference(name=entry.name, kind=entry.kind, image=picture, alpha=alpha)
    mask = masks.get(socket.replace("image", "mask"))
    return reference if mask is None else cut_out(reference, GivenMask(mask=host.flat_mask(mask)))[0]
