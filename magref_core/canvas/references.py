"""References: one picture of one subject, its name and kind, and reading such a picture from a file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import MagrefError, ShapeError

Kind = Literal["person", "object", "background"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_PICTURE_SIDE = 16384
"""Longest side, in pixels, of a picture that is read."""

MAX_NAME_LENGTH = 64

_BROKEN_PICTURE = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged bytes."""

_HEAD = 4096
"""Bytes at the start of a file by which its format is told."""

_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

_DRAWINGS = ("EPS", "WMF")
"""Formats that would start an interpreter of drawing commands."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reference:
    """One picture of one subject.

    Raises:
        MagrefError: the name cannot be used, the kind is unknown, or the picture is transparent everywhere.
        ShapeError: a tensor has the wrong shape or type, or the alpha has another size than the image.
    """

    name: str
    """What the prompt and the placements call the subject; see `check_names`."""
    kind: Kind = "object"
    image: Tensor
    """(H, W, 3) uint8, sRGB; parts under a zero alpha may hold any colour."""
    alpha: Tensor | None = None
    """(H, W) uint8; 255 on the subject, 0 beside it. None: the whole picture is the subject."""
    subject: str | None = None
    """Name of the subject that several pictures share; None: the picture is the only one of its subject."""
    keep_whole: bool = False
    """Leave the picture alone when all subjects are cut out, unless it is named there."""
    word: str | None = None
    """What stands for the subject in the prompt; None: its name."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in KINDS:
            raise MagrefError(
                f"reference '{self.name}' is of the kind '{self.kind}', which is unknown: "
                f"choose one of {', '.join(KINDS)}"
            )
        if self.subject is not None:
            _check_name(self.subject)
        if self.word is not None:
            _check_word(self.name, self.word)
        _check_picture(self.name, self.image)
        if self.alpha is not None:
            _check_alpha(self.name, self.image, self.alpha)

    @property
    def height(self) -> int:
        """Of the picture, in pixels."""
        return self.image.shape[0]

    @property
    def width(self) -> int:
        """Of the picture, in pixels."""
        return self.image.shape[1]


def check_names(names: Sequence[str]) -> None:
    """Refuse names that prompts, placements or files cannot carry.

    Args:
        names: of all references, in order.

    Raises:
        MagrefError: there is no reference; a name is empty, too long, holds a slash, a comma or a control
            character, or has a space at an end; or two names differ at most in upper and lower case.
    """
    if not names:
        raise MagrefError("there is no reference: add at least one picture")
    seen: dict[str, str] = {}
    for name in names:
        _check_name(name)
        if name.casefold() in seen:
            raise MagrefError(
                f"two references are named '{seen[name.casefold()]}' and '{name}', but names must differ by "
                "more than upper and lower case: rename one of them"
            )
        seen[name.casefold()] = name


def read_picture(file: Path | BinaryIO, *, label: str) -> tuple[Tensor, Tensor | None]:
    """Read a picture upright, as 8-bit RGB, and its transparency.

    EXIF orientation is applied. Of an animation the first frame is taken. Grey, palette, CMYK and 16-bit
    pictures become 8-bit RGB; 16-bit values are scaled, not clipped. Colour profiles are not applied.

    Args:
        file: path, or file open for reading in binary mode, which stays open.
        label: what error messages call the picture, for example its file name.

    Returns:
        image, (H, W, 3) uint8, and alpha, (H, W) uint8, 255 where opaque. The alpha is None if the picture
        is opaque everywhere.

    Raises:
        MagrefError: there is no such file, or it is empty, damaged, too large, or no picture.
    """
    try:
        with file.open("rb") if isinstance(file, Path) else nullcontext(file) as opened:
            start = opened.tell()
            head = opened.read(_HEAD)
            if not head:
                raise MagrefError(f"the picture '{label}' is empty (0 bytes): choose or export it again")
            opened.seek(start)
            return _decode(opened, label, head)
    except FileNotFoundError as error:
        raise MagrefError(f"there is no picture '{label}': choose one that exists") from error
    except Image.DecompressionBombError as error:
        raise MagrefError(
            f"the picture '{label}' has too many pixels to be read safely ({error}): scale it down"
        ) from error
    except MagrefError:
        raise
    except _BROKEN_PICTURE as error:
        raise MagrefError(
            f"the picture '{label}' cannot be read ({_reason(error)}): open it in an image viewer and save "
            "it again as PNG or JPEG"
        ) from error


def _unreadable_format(head: bytes) -> str | None:
    """What a file is, by its first bytes, if it is of a common format that Pillow does not read."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        return "a HEIC photo, as telephones make them, which cannot be read"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (
        text.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in text
    ):
        return "a drawing (SVG), not a picture"
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its format is unknown"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # the whole message would show where the file lies
    return f"damaged: {error}"


def _decode(opened: BinaryIO, label: str, head: bytes) -> tuple[Tensor, Tensor | None]:
    try:
        picture: Image.Image = Image.open(opened)
    except UnidentifiedImageError as error:
        if named := _unreadable_format(head):
            raise MagrefError(f"'{label}' is {named}: save it as PNG or JPEG") from error
        raise
    if max(picture.size) > MAX_PICTURE_SIDE:
        raise MagrefError(
            f"the picture '{label}' is {picture.width} x {picture.height} pixels, but no side may be "
            f"longer than {MAX_PICTURE_SIDE}: scale it down"
        )
    if picture.format in _DRAWINGS:
        raise MagrefError(f"'{label}' is a drawing ({picture.format}), not a picture: save it as PNG")
    picture.load()
    rgba = _to_8_bit(ImageOps.exif_transpose(picture), label)
    values = torch.as_tensor(np.array(rgba))  # (H, W, 3 or 4)
    if values.shape[2] == 3 or bool((values[..., 3] == 255).all()):
        return values[..., :3].contiguous(), None
    return values[..., :3].contiguous(), values[..., 3].contiguous()


def _to_8_bit(picture: Image.Image, label: str) -> Image.Image:
    """The picture in mode RGB, or RGBA if anything in it may be transparent."""
    if picture.mode.startswith("I"):
        return _from_deep_grey(picture, label)
    if picture.mode == "F":
        raise MagrefError(
            f"the picture '{label}' holds floating-point values, whose range is unknown: "
            "save it with 8 or 16 bits per channel"
        )
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _from_deep_grey(picture: Image.Image, label: str) -> Image.Image:
    """16-bit grey -> RGB, or RGBA if one grey level stands for transparency."""
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise MagrefError(
            f"the picture '{label}' has more than 16 bits per channel: save it with 8 or 16 bits per channel"
        )
    grey = Image.fromarray(np.round(values / 257).astype(np.uint8))
    rgb = grey.convert("RGB")
    transparent = picture.info.get("transparency")
    if transparent is not None:
        rgb.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return rgb


def _check_name(name: str) -> None:
    if not name.strip():
        raise MagrefError("a reference has an empty name: give every picture a name, for example 'alice'")
    if len(name) > MAX_NAME_LENGTH:
        raise MagrefError(
            f"the name '{name[:20]}...' has {len(name)} characters, but at most {MAX_NAME_LENGTH} are "
            "allowed: shorten it"
        )
    if "/" in name or "\\" in name or not name.isprintable():
        raise MagrefError(
            f"the name {name!r} holds a slash, a backslash or a control character: "
            "use letters, digits, spaces and dashes"
        )
    if "," in name:
        raise MagrefError(
            f"the name {name!r} holds a comma, but commas stand between names in a list of subjects: "
            "leave it out"
        )
    if name != name.strip():
        raise MagrefError(
            f"the name {name!r} starts or ends with a space, but must start and end with another character: "
            "remove the space"
        )


def _check_word(name: str, word: str) -> None:
    if not word.strip() or len(word) > MAX_NAME_LENGTH or not word.isprintable() or "@" in word:
        raise MagrefError(
            f"the word of '{name}' is {word[:20]!r}, but up to {MAX_NAME_LENGTH} printable characters "
            "without an @ are needed: write what the prompt should call it, such as 'woman', or leave it out"
        )


def _check_picture(name: str, image: Tensor) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != torch.uint8:
        raise ShapeError(
            f"the image of '{name}' is {tuple(image.shape)} {image.dtype}, but (height, width, 3) of "
            "torch.uint8 is needed: convert it first"
        )
    if image.numel() == 0:
        raise ShapeError(f"the image of '{name}' has no pixels: choose another picture")


def _check_alpha(name: str, image: Tensor, alpha: Tensor) -> None:
    if alpha.dtype != torch.uint8 or alpha.shape != image.shape[:2]:
        raise ShapeError(
            f"the alpha of '{name}' is {tuple(alpha.shape)} {alpha.dtype}, but "
            f"{tuple(image.shape[:2])} of torch.uint8 is needed: one value for each pixel of its picture"
        )
    if not bool(alpha.any()):
        raise MagrefError(
            f"the picture of '{name}' is transparent everywhere, so nothing of it would be seen: "
            "choose another picture or mask"
        )
