"""Clips and pictures from files, in the size and speed that the model learns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from magref_core.canvas.references import read_picture
from magref_core.errors import MagrefError
from magref_core.sizes import FRAME_STRIDE, check_num_frames, check_video_size
from magref_core.training.files import TrainingError

from .user_data import PICTURE_SUFFIXES, Material, Source, pictures_in

MAX_FRAMES = 600
"""What is read of a clip: 37 seconds at the model's speed."""
WHITE = 128
"""Level from which on a pixel of a mask is on the subject."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipOptions:
    """Size and speed of what is learnt.

    Raises:
        ShapeError: a side is no multiple of 16, or the length not 4 n + 1.
        MagrefError: the length is below 5, or the speed out of range.
    """

    height: int = 480
    width: int = 832
    length: int = 81
    """Frames, the canvas among them."""
    fps: float = 16.0
    """Frames per second of the model, not of the clips."""

    def __post_init__(self) -> None:
        check_video_size(height=self.height, width=self.width)
        check_num_frames(self.length)
        if self.length <= FRAME_STRIDE or not 1 <= self.fps <= 240:
            raise MagrefError(
                f"the length is {self.length} frames and the speed {self.fps:g} per second: use at least "
                f"{FRAME_STRIDE + 1} frames, and 1 to 240 per second"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clip:
    """What a sample shows after its canvas."""

    frames: Tensor
    """(F, H, W, 3) uint8, F at least 4."""
    subject: Tensor | None
    """(F, H, W) bool; where a subject is seen; None: not known."""


def read_clip(material: Material, options: ClipOptions) -> Clip:
    """Read the target of a sample, and its mask.

    Clips and pictures are resized until they cover the frame, and what stands over is cropped evenly. A
    picture with transparency is fitted into the frame instead, on white, as on a canvas.

    Raises:
        MagrefError: a file is broken or too short, or the mask does not fit.
    """
    if material.kind == "picture":
        return _read_still(material, options)
    if material.kind == "frames":
        frames = [_cover(_opaque(file), options) for file in pictures_in(material.target)[:MAX_FRAMES]]
    else:
        frames = list(read_video(material.target, options))
    if len(frames) < FRAME_STRIDE:
        raise TrainingError(
            f"the clip of '{material.name}' has {len(frames)} frames at {options.fps:g} per second, but at "
            f"least {FRAME_STRIDE} are needed: use a longer one, or picture.png for a still"
        )
    clip = torch.from_numpy(np.stack(frames))
    return Clip(frames=clip, subject=_read_mask(material, len(clip), options))


def read_video(file: Path, options: ClipOptions) -> Iterator[Bytes]:
    """Frames (H, W, 3) of a video at the model's speed: repeated or left out where the video has another.

    Raises:
        TrainingError: the file is no readable video.
    """
    import av.error  # comes with ComfyUI; training itself needs no video

    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise TrainingError(f"{_label(file)} holds no pictures: give a video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            shown = ((frame.time, frame) for frame in container.decode(stream))
            for frame in _at_speed(shown, options.fps, float(stream.average_rate or options.fps)):
                yield _cover(_upright(frame), options)
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, MagrefError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise TrainingError(f"{_label(file)} cannot be read ({reason}): export it again as mp4") from error


def read_reference(source: Source) -> tuple[Tensor, Tensor | None]:
    """The picture (H, W, 3) uint8 of a reference and its alpha (H, W) or None, cropped to its subject.

    Raises:
        MagrefError: a file is broken, or the mask has another size or is empty.
    """
    image, alpha = read_picture(source.file, label=_label(source.file))
    if source.mask is not None:
        alpha = _mask_levels(source.mask)
        if alpha.shape != image.shape[:2]:
            raise TrainingError(
                f"the mask {_label(source.mask)} is {alpha.shape[1]} x {alpha.shape[0]} pixels, but its "
                f"picture {image.shape[1]} x {image.shape[0]}: make it of the same size"
            )
    if alpha is None:
        return image, None
    rows, columns = (alpha >= WHITE).any(1).nonzero(), (alpha >= WHITE).any(0).nonzero()
    if not len(rows):
        raise TrainingError(f"{_label(source.mask or source.file)} shows no subject: mark it in white")
    box = np.s_[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    return image[box].contiguous(), alpha[box].contiguous()


def _read_still(material: Material, options: ClipOptions) -> Clip:
    image, alpha = read_picture(material.target, label=_label(material.target))
    picture = Image.fromarray(image.numpy())
    if alpha is None:
        shown = torch.from_numpy(_cover(picture, options))
        subject = _read_mask(material, 1, options)
    else:
        shown, subject = _on_white(picture, Image.fromarray(alpha.numpy()), options)
        subject = subject[None]
    return Clip(
        frames=shown.expand(FRAME_STRIDE, *shown.shape).clone(),
        subject=None if subject is None else subject.expand(FRAME_STRIDE, *subject.shape[1:]).clone(),
    )


def _read_mask(material: Material, num_frames: int, options: ClipOptions) -> Tensor | None:
    """(F, H, W) bool."""
    if material.mask is None:
        return None
    if material.mask.suffix.lower() in PICTURE_SUFFIXES:
        levels = Image.fromarray(_mask_levels(material.mask).numpy()).convert("RGB")
        mask = torch.from_numpy(_cover(levels, options))[..., 0] >= WHITE
        return mask.expand(num_frames, *mask.shape)
    frames = [torch.from_numpy(frame)[..., 0] >= WHITE for frame in read_video(material.mask, options)]
    if len(frames) != num_frames:
        raise TrainingError(
            f"the mask of '{material.name}' has {len(frames)} frames and its clip {num_frames}: make both "
            "equally long"
        )
    return torch.stack(frames)


def _mask_levels(file: Path) -> Tensor:
    """(H, W) uint8; the alpha of a mask that has one, else its brightness."""
    image, alpha = read_picture(file, label=_label(file))
    return image.max(2).values if alpha is None else alpha


def _opaque(file: Path) -> Image.Image:
    image, alpha = read_picture(file, label=_label(file))
    picture = Image.fromarray(image.numpy())
    if alpha is None:
        return picture
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=Image.fromarray(alpha.numpy()))
    return white


def _at_speed(shown: Iterable[tuple[float | None, Any]], fps: float, rate: float) -> Iterator[Any]:
    """Of frames with their times those that are on the screen at 0, 1 / fps, 2 / fps and so on."""
    first: float | None = None
    last_time, last, count = 0.0, None, 0
    for index, (time, frame) in enumerate(shown):
        time = index / rate if time is None else time
        first = time if first is None else first
        while last is not None and count / fps < time - first - 1e-6 and count < MAX_FRAMES:
            yield last
            count += 1
        if count >= MAX_FRAMES:
            return
        last, last_time = frame, time - first
    while last is not None and count / fps < last_time + 1 / rate - 1e-6 and count < MAX_FRAMES:
        yield last
        count += 1


def _upright(frame: Any) -> Image.Image:
    """A decoded frame as it is to be seen: turned as the camera was held, on white."""
    if any(component.is_alpha for component in frame.format.components):
        picture = Image.fromarray(frame.to_ndarray(format="rgba"), "RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture.getchannel("A"))
        picture = white
    else:
        picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    return picture.rotate(frame.rotation, expand=True) if frame.rotation % 360 else picture


def _cover(picture: Image.Image, options: ClipOptions) -> Bytes:
    """(H, W, 3): the largest middle part in the shape of the frame, resized to it."""
    scale = max(options.width / picture.width, options.height / picture.height)
    width, height = options.width / scale, options.height / scale
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    box = (max(0.0, left), max(0.0, top), min(picture.width, left + width), min(picture.height, top + height))
    size = (options.width, options.height)
    return np.array(picture.resize(size, Image.Resampling.LANCZOS, box=box), np.uint8)


def _on_white(picture: Image.Image, alpha: Image.Image, options: ClipOptions) -> tuple[Tensor, Tensor]:
    """(H, W, 3) uint8 and (H, W) bool: the picture amid a white frame, and where it is seen."""
    scale = min(options.width / picture.width, options.height / picture.height)
    size = (max(1, math.floor(picture.width * scale)), max(1, math.floor(picture.height * scale)))
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=alpha)
    place = ((options.width - size[0]) // 2, (options.height - size[1]) // 2)
    frame = Image.new("RGB", (options.width, options.height), "white")
    frame.paste(flat.resize(size, Image.Resampling.LANCZOS), place)
    seen = Image.new("L", frame.size, 0)
    seen.paste(alpha.resize(size, Image.Resampling.LANCZOS), place)
    return torch.from_numpy(np.array(frame)), torch.from_numpy(np.array(seen)) >= WHITE


def _label(file: Path) -> str:
    """A file as messages call it: with its folder, but without the way there."""
    return f"{file.parent.name}/{file.name}"
