"""Finding subjects by the patch features of an image encoder that is handed in, such as DINO or CLIP."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..canvas.references import Reference
from ..errors import ShapeError
from .matching import Bytes, Floats
from .sightings import Sightings, subjects_of

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pictures (B, S, S, 3) float32 in [0, 1] -> patch tokens (B, P, C), row by row, P a square number or a few
more in front of them, and one summary of each picture (B, D)."""

NEIGHBOURS = 3
"""Patches of a photo whose mean likeness to a patch of a frame counts."""
SIZE = 224
"""Side in pixels in which pictures are handed over; the encoder may change it."""
BANDS = 2
"""Parts of a place from top to bottom."""
MARGIN = 0.08
"""Around a place that is cut out of a frame, in sides of it."""


def find_by_patches(
    frames: Bytes,
    numbers: Sequence[int],
    references: Sequence[Reference],
    *,
    encode: Encode,
    check: Callable[[], None] = lambda: None,
) -> Sightings:
    """Look for each subject; see `sightings.Finder`.

    A patch of a frame is as like a subject as its nearest patches in the photo. The place of a subject is
    what hangs together around the patch most like it; there it is compared as a whole.

    Args:
        frames: (F, H, W, 3) in 0..255.
        numbers: (F,) of the frames in the video.
        references: of all subjects.
        encode: see `Encode`.
        check: asked often; may raise to stop.
    """
    subjects = subjects_of(references)
    owners = [index for index, subject in enumerate(subjects) for _ in subject.references]
    photos = [reference for subject in subjects for reference in subject.references]
    drawn = [_on_white(photo) for photo in photos]
    photo_tokens, photo_summaries = _encoded(encode, np.stack([square for square, _ in drawn]))
    frame_tokens: list[Tensor] = []
    for frame in frames:
        check()
        frame_tokens.append(_encoded(encode, _stretched(frame)[None])[0][0])
    mean = torch.cat([photo_tokens.flatten(0, 2), torch.stack(frame_tokens).flatten(0, 2)]).mean(0)
    known = [
        F.normalize(tokens[torch.as_tensor(_cover(cover, len(tokens)))] - mean, dim=1)
        for tokens, (_, cover) in zip(photo_tokens, drawn, strict=True)
    ]
    count, total = len(subjects), len(frames)
    boxes, likeness = (np.zeros((total, count, last), np.float32) for last in (4, count))
    shares = np.zeros((total, count, BANDS, count), np.float32)
    for index, (frame, tokens) in enumerate(zip(frames, frame_tokens, strict=True)):
        check()
        maps = _maps(F.normalize(tokens - mean, dim=2), known, owners, count)  # (N, g, g)
        places = [_place(each) for each in maps]
        cut = np.stack([_cut(frame, _box(place)) for place in places])
        _, summaries = _encoded(encode, cut)
        alike = F.normalize(summaries, dim=1) @ F.normalize(photo_summaries, dim=1).T  # (N, photos)
        nearest = maps.argmax(0)
        for place in range(count):
            boxes[index, place] = _box(places[place])
            for other in range(count):
                mine = [column for column, owner in enumerate(owners) if owner == other]
                likeness[index, place, other] = float(alike[place, mine].max())
            shares[index, place] = _shares(nearest, places[place], count)
    return Sightings(
        names=tuple(subject.name for subject in subjects),
        frames=tuple(numbers),
        boxes=boxes,
        likeness=likeness,
        shares=shares,
        alone=_alone(likeness, shares),
        method="encoder",
    )


def _encoded(encode: Encode, pictures: Bytes) -> tuple[Tensor, Tensor]:
    """(B, g, g, C) float32 of (B, S, S, 3) in 0..255, and the summaries (B, D)."""
    tokens, summaries = encode(torch.as_tensor(pictures).float() / 255)
    side = math.isqrt(tokens.shape[1])
    if side < 2:
        raise ShapeError(
            f"the image encoder gives {tokens.shape[1]} patches of a picture, but at least 4 are needed: "
            "take DINO, or CLIP vision ViT"
        )
    # A class token and registers stand in front of the patches.
    patches = tokens[:, tokens.shape[1] - side * side :].float().cpu()
    grid = patches.reshape(len(patches), side, side, patches.shape[2])
    return grid, summaries.float().cpu()


def _on_white(photo: Reference) -> tuple[Bytes, Floats]:
    """The photo in the middle of a white square, (S, S, 3), and where it is, (S, S) in 0..1."""
    picture = Image.fromarray(photo.image.numpy())
    whole = np.full((photo.height, photo.width), 255, np.uint8)
    alpha = whole if photo.alpha is None else photo.alpha.numpy()
    paper = Image.new("RGB", (SIZE, SIZE), (255, 255, 255))
    cover = Image.new("L", (SIZE, SIZE), 0)
    factor = SIZE / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    corner = ((SIZE - size[0]) // 2, (SIZE - size[1]) // 2)
    mask = Image.fromarray(alpha).resize(size, Image.Resampling.BILINEAR)
    paper.paste(picture.resize(size, Image.Resampling.BICUBIC), corner, mask)
    cover.paste(mask, corner)
    return np.asarray(paper, np.uint8), np.divide(np.asarray(cover, np.uint8), 255, dtype=np.float32)


def _cover(cover: Floats, grid: int) -> npt.NDArray[np.bool_]:
    """(g, g): patches that show the subject for the most part; the fullest one at least."""
    shares = np.asarray(cv2.resize(cover, (grid, grid), interpolation=cv2.INTER_AREA), np.float32)
    return shares >= min(0.5, float(shares.max()))


def _stretched(frame: Bytes) -> Bytes:
    return np.asarray(cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def _maps(tokens: Tensor, known: Sequence[Tensor], owners: Sequence[int], count: int) -> Floats:
    """(N, g, g): how like each subject each patch is, the best photo counting."""
    maps = torch.full((count, *tokens.shape[:2]), -1.0)
    for photo, owner in zip(known, owners, strict=True):
        alike = tokens @ photo.T  # (g, g, P)
        found = alike.topk(min(NEIGHBOURS, alike.shape[2]), dim=2).values.mean(2)
        maps[owner] = torch.maximum(maps[owner], found)
    return maps.numpy()


def _place(likeness: Floats) -> npt.NDArray[np.bool_]:
    """(g, g): what hangs together around the most alike patch, halfway down to the usual one."""
    least = (float(likeness.max()) + float(np.median(likeness))) / 2
    _, labels = cv2.connectedComponents((likeness >= least).astype(np.uint8), connectivity=8)
    row, column = np.unravel_index(int(likeness.argmax()), likeness.shape)
    return np.asarray(labels == labels[row, column])


def _alone(likeness: Floats, shares: Floats) -> Floats:
    """(F, N): likeness times the part of the own place that is like nobody else."""
    own = np.diagonal(likeness, axis1=1, axis2=2)
    return np.asarray(own * np.diagonal(shares.mean(2), axis1=1, axis2=2), np.float32)


def _shares(nearest: npt.NDArray[np.intp], place: npt.NDArray[np.bool_], count: int) -> Floats:
    """(B, N): of the patches of each band, how many are nearest to each subject."""
    rows = np.nonzero(place)[0]
    bands = (rows - rows.min()) * BANDS // (rows.max() + 1 - rows.min())
    shares = np.zeros((BANDS, count), np.float32)
    for band in range(BANDS):
        here = nearest[place][bands == band]
        shares[band] = np.bincount(here, minlength=count) / max(1, len(here))
    return shares


def _box(place: npt.NDArray[np.bool_]) -> Floats:
    """x, y, width and height in shares of the frame."""
    rows, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
    left, top = int(columns[0]), int(rows[0])
    size = (int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)
    return np.asarray([value / len(place) for value in (left, top, *size)], np.float32)


def _cut(frame: Bytes, box: Floats) -> Bytes:
    """A place of a frame in the middle of a white square, (S, S, 3)."""
    height, width = frame.shape[:2]
    x, y, wide, tall = (float(value) for value in box)
    left, top = max(0, round((x - MARGIN * wide) * width)), max(0, round((y - MARGIN * tall) * height))
    right = min(width, max(left + 1, round((x + (1 + MARGIN) * wide) * width)))
    bottom = min(height, max(top + 1, round((y + (1 + MARGIN) * tall) * height)))
    part = torch.as_tensor(np.ascontiguousarray(frame[top:bottom, left:right]))
    return _on_white(Reference(name="place", image=part))[0]
