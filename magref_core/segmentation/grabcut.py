"""Back-end: OpenCV's GrabCut, started by what the kind of the reference suggests; no weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..canvas.references import Reference
from .arrays import Array, load_opencv
from .cleanup import fill_holes, keep_largest
from .cutout import CutOut
from .edges import refine_edges
from .priors import Prior, subject_prior

_UNSURE = (0.05, 0.95)
"""Prior probabilities between which GrabCut may decide."""

_LARGEST_HOLE = 0.03
"""Of the subject's area: eyes and highlights are filled, the inside of a handle is not."""

_STRAY = 5
"""Pixels of the small picture: thinner parts are dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GrabCut:
    """Cuts out persons by a head-and-body prior, objects by the centre and the colours of the border.

    A background stays whole. A transparent part of the file stays out of the subject.
    """

    max_side: int = 384
    """Pixels of the longer side at which the picture is segmented; its edge is refined at full size."""
    rounds: int = 2
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
        prior = subject_prior(small, reference.kind)
        mask = torch.as_tensor(_tidy(self._cut(small, _labels(prior)), prior))
        alpha = refine_edges(mask, torch.as_tensor(small), reference.image.cpu())
        if reference.alpha is not None:
            alpha = torch.minimum(alpha, reference.alpha.cpu())
        return CutOut(alpha=alpha)

    def _small_size(self, reference: Reference) -> tuple[int, int]:
        """(width, height); at least 16 pixels a side, also of a thin picture."""
        scale = min(1.0, self.max_side / max(reference.height, reference.width))
        return max(16, round(reference.width * scale)), max(16, round(reference.height * scale))

    def _cut(self, image: Array, labels: Array) -> Array:
        """(h, w) in {0, 255}."""
        cv2 = load_opencv()
        is_subject = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
        if is_subject.any() and not is_subject.all():  # GrabCut needs colours of both
            cv2.setRNGSeed(self.seed)
            models = np.zeros((1, 65)), np.zeros((1, 65))
            cv2.grabCut(image, labels, None, *models, self.rounds, cv2.GC_INIT_WITH_MASK)
        return (np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)) * np.uint8(255)).astype(np.uint8)


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


def _tidy(mask: Array, prior: Prior) -> Array:
    """Drop thin and stray parts, and fill small holes."""
    cv2 = load_opencv()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_STRAY, _STRAY))
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    opened[prior.subject & (mask > 0)] = 255
    return fill_holes(keep_largest(opened), largest=_LARGEST_HOLE)
