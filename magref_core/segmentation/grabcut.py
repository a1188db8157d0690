"""Back-end: OpenCV's GrabCut, started by what the kind of the reference suggests; no weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..canvas.references import Kind, Reference
from .arrays import Array, load_opencv
from .cleanup import fill_holes, keep_largest
from .contours import colour_steps, find_candidates, judge, smooth_lab
from .cutout import CutOut
from .edges import refine_edges
from .priors import Prior, subject_prior

_UNSURE = (0.05, 0.95)
"""Prior probabilities between which GrabCut may decide."""

_LARGEST_HOLE = 0.03
"""Of the subject's area: eyes and highlights are filled, the inside of a handle is not."""

_STRONG_EDGE = 40.0
"""Mean step of 8-bit Lab across an edge that is certainly one of the subject, not of light or texture."""

_LEAST_SHARE = 0.7
"""Of an enclosed part that colours must leave over, or it is not the subject."""

_BAND = 0.06
"""Of the picture's longer side: how far from the edge of an enclosed part the colours decide."""

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

        What a closed edge sets apart is the subject, unless the outline that the kind suggests has an edge as
        complete.
        """
        prior = subject_prior(image, kind)
        mask = self._cut(image, prior)
        if kind != "person" and not prior.background.any():
            mask = self._better_alone(image, mask)
        steps = colour_steps(smooth_lab(image))
        candidates = find_candidates(image)
        if not candidates:
            return mask
        best, usual = candidates[0], judge(mask > 0, steps)
        found = self._cut_around(image, best.mask)
        is_whole = (found > 0).mean() >= _LEAST_SHARE * best.mask.mean()
        return found if is_whole and judge(found > 0, steps).support > usual.support else mask

    def _better_alone(self, image: Array, mask: Array) -> Array:
        """The cut-out of an object as one that stands alone, if its edge is stronger; else the mask."""
        alone = self._cut(image, subject_prior(image, "object", stands_alone=True))
        return alone if edge_contrast(image, alone) > max(_STRONG_EDGE, edge_contrast(image, mask)) else mask

    def _cut_around(self, image: Array, mask: Array) -> Array:
        """Let the colours decide within a band along the edge of a mask; (h, w) in {0, 255}."""
        cv2 = load_opencv()
        values, reach = mask.astype(np.uint8), round(_BAND * max(mask.shape))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        labels: Array = np.full(mask.shape, cv2.GC_BGD, np.uint8)
        labels[cv2.dilate(values, kernel) > 0] = cv2.GC_PR_BGD
        labels[mask] = cv2.GC_PR_FGD
        labels[cv2.erode(values, kernel, borderValue=1) > 0] = cv2.GC_FGD
        subject = labels == cv2.GC_FGD
        self._grab(image, labels)
        found = (np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)) * 255).astype(np.uint8)
        return _tidy(found, subject)

    def _grab(self, image: Array, labels: Array) -> None:
        """Improve labels in place; nothing happens unless there are colours of both."""
        cv2 = load_opencv()
        is_subject = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
        if is_subject.any() and not is_subject.all():
            cv2.setRNGSeed(self.seed)
            models = np.zeros((1, 65)), np.zeros((1, 65))
            cv2.grabCut(image, labels, None, *models, self.rounds, cv2.GC_INIT_WITH_MASK)

    def _cut(self, image: Array, prior: Prior) -> Array:
        """(h, w) in {0, 255}."""
        cv2 = load_opencv()
        labels = _labels(prior)
        self._grab(image, labels)
        found = (np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)) * 255).astype(np.uint8)
        return _tidy(found, prior.subject)


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


def edge_contrast(image: Array, mask: Array) -> float:
    """The mean step of colour across the edge of a mask, in units of 8-bit Lab; 0 without an edge."""
    cv2 = load_opencv()
    lab: Array = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    inside: Array = (mask > 0).astype(np.float32)
    step: Array = np.linalg.norm(_mean_around(lab, inside) - _mean_around(lab, 1 - inside), axis=-1)
    neighbours = np.ones((3, 3), np.uint8)
    edge: Array = cv2.dilate(mask, neighbours) != cv2.erode(mask, neighbours)
    return float(step[edge].mean()) if edge.any() else 0.0


def _mean_around(colours: Array, weights: Array) -> Array:
    """Weighted mean of the colours around each place; (h, w, 3)."""
    cv2 = load_opencv()
    window = 2 * _STRAY - 1, 2 * _STRAY - 1
    total: Array = cv2.blur(colours * weights[..., None], window)
    share: Array = cv2.blur(weights, window)
    return total / (share[..., None] + 1e-4)
