"""Back-end: OpenCV's GrabCut, started by what the kind of the reference suggests; no weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..canvas.references import Kind, Reference
from .arrays import Array, load_opencv
from .cleanup import fill_holes, keep_largest
from .contours import find_candidates, smooth_lab
from .cutout import CutOut
from .edges import refine_edges
from .grading import LEAST_GRADE, grade, scene_of, worth
from .priors import Prior, subject_prior

_UNSURE = (0.05, 0.95)
"""Prior probabilities between which GrabCut may decide."""

_LARGEST_HOLE = 0.03
"""Of the subject's area: eyes and highlights are filled, the inside of a handle is not."""

_BAND = 0.045
"""Of the picture's longer side: how far from the edge of an enclosed part the colours decide."""

_SURROUNDINGS = 0.05
"""Of that side: how far beyond the band the colours of the ground are looked at."""

_CLEARLY = 0.5
"""By so much must a part that hardly looks like a figure be graded above the outline of the kind."""

_REFINED = 3
"""Parts whose edges are mended."""

_STRAY = 5
"""Pixels of the small picture: thinner parts are dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GrabCut:
    """Cuts out persons by a head-and-body prior, objects by the centre and the colours of the border.

    A background stays whole. A transparent part of the file stays out of the subject.
    """

    max_side: int = 384
    """Pixels of the longer side at which the picture is segmented; its edge is refined at full size."""
    rounds: int = 1
    """Of fitting colours and cutting."""
    seed: int = 0
    """Of the colour clustering."""

    def __call__(self, reference: Reference, /) -> CutOut:
        """See `Segmenter`.

        Raises:
            MagrefError: OpenCV is missing.
        """
        if reference.kind == "background":
            return CutOut(alpha=None)
        cv2 = load_opencv()
        size = self._small_size(reference)
        small: Array = cv2.resize(reference.image.cpu().numpy(), size, interpolation=cv2.INTER_AREA)
        mask = torch.as_tensor(self._segment(small, reference.kind))
        alpha = refine_edges(mask, torch.as_tensor(small), reference.image.cpu())
        if reference.alpha is not None:
            alpha = torch.minimum(alpha, reference.alpha.cpu())
        return CutOut(alpha=alpha)

    def _small_size(self, reference: Reference) -> tuple[int, int]:
        """(width, height); at least 16 pixels a side, also of a thin picture."""
        scale = min(1.0, self.max_side / max(reference.height, reference.width))
        return max(16, round(reference.width * scale)), max(16, round(reference.height * scale))

    def _segment(self, image: Array, kind: Kind) -> Array:
        """(h, w) in {0, 255}.

        The outline that the kind suggests, and the parts that edges set apart and that look like a figure at
        all, or clearly more than the outline does. The colours along their edges then decide about the best
        of them; what looks most like a figure, before or after, is taken.
        """
        scene = scene_of(image, smooth_lab(image))
        outline = max(self._outlines(image, kind), key=lambda part: grade(part, scene))
        graded = [(worth(part, scene), part) for part in (outline, *find_candidates(image))]
        least = min(LEAST_GRADE, graded[0][0] + _CLEARLY)
        graded = graded[:1] + [each for each in graded[1:] if each[0] > least]
        best = sorted(graded, key=_worth_of, reverse=True)[:_REFINED]
        refined = [self._cut_around(image, part) for _, part in best]
        graded = best + [(worth(part, scene), part) for part in refined]
        return (max(graded, key=_worth_of)[1] * 255).astype(np.uint8)

    def _outlines(self, image: Array, kind: Kind) -> list[Array]:
        """What the kind suggests, and for an object also as one that stands alone; (h, w) bool."""
        prior = subject_prior(image, kind)
        found = [self._cut(image, prior)]
        if kind != "person" and not prior.background.any():
            found.append(self._cut(image, subject_prior(image, "object", stands_alone=True)))
        return found

    def _cut_around(self, image: Array, part: Array) -> Array:
        """Let the colours nearby decide within a band along the edge of a part; both (h, w) bool."""
        cv2 = load_opencv()
        reach = round(_BAND * max(part.shape))
        window = _window_around(part, reach + round(_SURROUNDINGS * max(part.shape)))
        values = part[window].astype(np.uint8)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        labels: Array = np.full(values.shape, cv2.GC_BGD, np.uint8)
        labels[cv2.dilate(values, kernel) > 0] = cv2.GC_PR_BGD
        labels[values > 0] = cv2.GC_PR_FGD
        labels[cv2.erode(values, kernel, borderValue=1) > 0] = cv2.GC_FGD
        subject = labels == cv2.GC_FGD
        self._grab(np.ascontiguousarray(image[window]), labels)
        mended: Array = np.zeros_like(part)
        mended[window] = _tidy(_found(labels), subject) > 0
        return mended

    def _grab(self, image: Array, labels: Array) -> None:
        """Improve labels in place; nothing happens unless there are colours of both."""
        cv2 = load_opencv()
        is_subject = _found(labels) > 0
        if is_subject.any() and not is_subject.all():
            cv2.setRNGSeed(self.seed)
            models = np.zeros((1, 65)), np.zeros((1, 65))
            cv2.grabCut(image, labels, None, *models, self.rounds, cv2.GC_INIT_WITH_MASK)

    def _cut(self, image: Array, prior: Prior) -> Array:
        """(h, w) bool."""
        labels = _labels(prior)
        self._grab(image, labels)
        return _tidy(_found(labels), prior.subject) > 0


def _worth_of(graded: tuple[float, Array]) -> float:
    return graded[0]


def _found(labels: Array) -> Array:
    """Where GrabCut's labels say subject; (h, w) in {0, 255}."""
    return (labels % 2 * 255).astype(np.uint8)  # GC_FGD is 1, GC_PR_FGD is 3


def _window_around(part: Array, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the frame of a part, widened as far as the picture reaches."""
    x, y, width, height = load_opencv().boundingRect(part.astype(np.uint8))
    rows = slice(max(0, y - margin), y + height + margin)
    return rows, slice(max(0, x - margin), x + width + margin)


def _labels(prior: Prior) -> Array:
    """What GrabCut may change, and what it must not."""
    cv2 = load_opencv()
    lower, upper = _UNSURE
    labels: Array = np.full(prior.probability.shape, cv2.GC_PR_BGD, np.uint8)
    labels[prior.probability > 0.5] = cv2.GC_PR_FGD
    labels[prior.probability < lower] = cv2.GC_BGD
    labels[prior.probability > upper] = cv2.GC_FGD
    labels[prior.background] = cv2.GC_BGD
    labels[prior.subject] = cv2.GC_FGD
    return labels


def _tidy(mask: Array, subject: Array) -> Array:
    """Drop thin and stray parts, but for those surely on the subject, and fill small holes."""
    cv2 = load_opencv()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_STRAY, _STRAY))
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    opened[subject & (mask > 0)] = 255
    return fill_holes(keep_largest(opened), largest=_LARGEST_HOLE)
