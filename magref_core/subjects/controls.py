"""What a user asks of subjects, checked, and turned into the plan of one forward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..dit.subjects import Boost, Injection, Projection, SubjectPlan, averages_of
from ..errors import MagrefError, ShapeError
from .regions import Coverage, Regions, in_region, token_shares, tokens_showing
from .spans import BoundSubject

Reach = Literal["everywhere", "near"]
"""everywhere: every token looks at the subject more; near: those that look at it already."""

MAX_ALPHA = 2.0
MIN_STRENGTH, MAX_STRENGTH = -2.0, 4.0
"""Biases of logits: attention to a subject counts e^strength times as much, from 0.14 to 55."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """When, and in which blocks.

    Raises:
        MagrefError: the ranges are empty or no numbers.
    """

    first_block: int = 0
    last_block: int = -1
    """-1: the last one."""
    start_sigma: float = 1.0
    """The noise level, 1 to 0, at which it starts."""
    end_sigma: float = 0.0
    """The one at which it ends; 0: the end of the run."""

    def __post_init__(self) -> None:
        if self.first_block < 0 or (self.last_block != -1 and self.last_block < self.first_block):
            raise MagrefError(
                f"the blocks go from {self.first_block} to {self.last_block}, which is none: start at 0 or "
                f"above "
                "and end at the same block or a later one, or at -1 for the last"
            )
        if not 0 <= self.end_sigma <= self.start_sigma <= 1:
            raise MagrefError(
                f"the noise goes from {self.start_sigma} to {self.end_sigma}, but it falls from 1 to 0 in a "
                f"run: "
                "choose start_sigma and end_sigma between these, the start not below the end"
            )

    def blocks(self, num_blocks: int) -> tuple[int, int]:
        """First and last + 1 of a model's blocks.

        Raises:
            MagrefError: the model has no block of the range.
        """
        if self.first_block >= num_blocks:
            raise MagrefError(
                f"first_block is {self.first_block}, but the model's {num_blocks} blocks are numbered from 0 "
                f"to "
                f"{num_blocks - 1}: choose one of these"
            )
        return self.first_block, num_blocks if self.last_block == -1 else min(self.last_block + 1, num_blocks)

    def is_on(self, sigma: float) -> bool:
        """Whether it acts at a noise level."""
        return self.end_sigma <= sigma <= self.start_sigma


@dataclass(frozen=True, kw_only=True, slots=True)
class Disentanglement:
    """How much of its words each subject's region is given; see `dit.subjects`."""

    alphas: tuple[float, ...]
    """Per subject, 0 to 2."""
    projection: Projection = "value_out"
    coverage: Coverage = "half"
    normalise: bool = True
    """Where a token is in several regions, divide by their number, so that it gets no more than one subject's
    worth."""
    scope: Scope = Scope()

    def __post_init__(self) -> None:
        _check_choice("projection", self.projection, get_args(Projection))
        _check_choice("coverage", self.coverage, get_args(Coverage))
        for alpha in self.alphas:
            check_number("alpha", alpha, 0.0, MAX_ALPHA)


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentityStrength:
    """How much more each subject's tokens are looked at; see `dit.lse`."""

    strengths: tuple[float, ...]
    """Per subject the bias of its logits, -2 to 4; 0 leaves it."""
    reach: Reach = "everywhere"
    scope: Scope = Scope()

    def __post_init__(self) -> None:
        _check_choice("reach", self.reach, get_args(Reach))
        for strength in self.strengths:
            check_number("strength", strength, MIN_STRENGTH, MAX_STRENGTH)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SubjectControls:
    """All that one prompt asks for."""

    subjects: tuple[BoundSubject, ...]
    regions: Regions
    disentanglement: Disentanglement | None = None
    identity: IdentityStrength | None = None

    @property
    def is_neutral(self) -> bool:
        """Whether the plain model does the same."""
        return not self._asked_alphas() and not self._asked_strengths()

    def cropped(self, top: int, left: int, height: int, width: int) -> SubjectControls:
        """The same for a part of the canvas, in latent cells."""
        return SubjectControls(
            subjects=self.subjects,
            regions=self.regions.cropped(top, left, height, width),
            disentanglement=self.disentanglement,
            identity=self.identity,
        )

    def plan(
        self,
        *,
        rows: tuple[int, int],
        cells: tuple[int, int],
        sigma: float,
        num_blocks: int,
        text_len: int,
        patch: Sequence[int] = (2, 2),
        device: torch.device | str = "cpu",
    ) -> SubjectPlan:
        """What one forward shall do.

        Args:
            rows: first and last + 1 of the batch's rows of this prompt.
            cells: height and width of the latents.
            sigma: noise level, [0, 1].
            num_blocks: of the model.
            text_len: rows of text that the model reads.
            patch: cells of a token, down and across.
            device: where the plan is used.

        Raises:
            ShapeError: the canvas has another size than the latents.
            MagrefError: a subject is to be injected of whom the prompt says nothing that the model reads.
        """
        if tuple(self.regions.boxes.shape[1:]) != tuple(cells):
            height, width = self.regions.boxes.shape[1:]
            raise ShapeError(
                f"the subjects lie on a canvas of {width} x {height} latent cells, but the latents have "
                f"{cells[1]} x {cells[0]}: use the latent of the same MAGREF Apply Masked Guidance"
            )
        injection = self._injection(rows, sigma, num_blocks, text_len, patch, device)
        boost = self._boost(rows, sigma, num_blocks, patch, device)
        return SubjectPlan(
            injections=() if injection is None else (injection,), boosts=() if boost is None else (boost,)
        )

    def _asked_alphas(self) -> list[int]:
        asked = self.disentanglement
        return [] if asked is None else [index for index, alpha in enumerate(asked.alphas) if alpha]

    def _asked_strengths(self) -> list[int]:
        asked = self.identity
        return [] if asked is None else [index for index, strength in enumerate(asked.strengths) if strength]

    def _injection(
        self,
        rows: tuple[int, int],
        sigma: float,
        num_blocks: int,
        text_len: int,
        patch: Sequence[int],
        device: torch.device | str,
    ) -> Injection | None:
        asked, chosen = self.disentanglement, self._asked_alphas()
        if asked is None or not chosen or not asked.scope.is_on(sigma):
            return None
        masks = in_region(token_shares(self.regions.boxes, patch), asked.coverage).float()  # (K, h, w)
        amounts = amounts_of(masks[chosen], [asked.alphas[index] for index in chosen], asked.normalise)
        positions = tuple(_read(self.subjects[index], text_len) for index in chosen)
        return Injection(
            rows=rows,
            blocks=asked.scope.blocks(num_blocks),
            averages=averages_of(positions, text_len).to(device),
            amounts=amounts.to(device),
            projection=asked.projection,
        )

    def _boost(
        self,
        rows: tuple[int, int],
        sigma: float,
        num_blocks: int,
        patch: Sequence[int],
        device: torch.device | str,
    ) -> Boost | None:
        asked, chosen = self.identity, self._asked_strengths()
        if asked is None or not chosen or not asked.scope.is_on(sigma):
            return None
        keys = tokens_showing(token_shares(self.regions.shown, patch))
        chosen = [index for index in chosen if len(keys[index])]  # the others show in no token
        if not chosen:
            return None
        return Boost(
            rows=rows,
            blocks=asked.scope.blocks(num_blocks),
            keys=tuple(keys[index].to(device) for index in chosen),
            factors=tuple(math.expm1(asked.strengths[index]) for index in chosen),
            near=asked.reach == "near",
        )


def amounts_of(masks: Tensor, alphas: Sequence[float], normalise: bool) -> Tensor:
    """How much of its words each subject gives to each token.

    Args:
        masks: (K, h, w) float32 in {0, 1}; the tokens of each region.
        alphas: of each subject.
        normalise: see `Disentanglement`.

    Returns:
        (h w, K) float32, as `dit.subjects.Injection` takes it.
    """
    flat = masks.flatten(1)
    if normalise:
        flat = flat / flat.sum(0).clamp(min=1)
    return (flat * flat.new_tensor(alphas)[:, None]).T.contiguous()


def per_subject(names: Sequence[str], default: float, text: str, what: str) -> tuple[float, ...]:
    """One number for each subject.

    Args:
        names: of the subjects.
        default: for those that are not named.
        text: such as "girl: 0.5, mug: 0"; may be empty.
        what: is set, such as "alpha".

    Raises:
        MagrefError: an entry has no number, or names nobody or somebody twice.
    """
    index_of = {name.casefold(): index for index, name in enumerate(names)}
    values: dict[int, float] = {}
    for entry in filter(None, (part.strip() for part in text.replace("\n", ",").split(","))):
        name, colon, number = entry.rpartition(":")
        name = name.strip().removeprefix("@")
        if not colon or not name:
            raise MagrefError(
                f"'{entry[:40]}' sets no {what}: write a name, a colon and a number, such as "
                f"'{names[0] if names else 'alice'}: 0.5'"
            )
        if name.casefold() not in index_of:
            raise MagrefError(
                f"{_a(what)} is set for '{name[:40]}', but no subject is called so: use {', '.join(names)}"
            )
        index = index_of[name.casefold()]
        if index in values:
            raise MagrefError(f"{what} is set twice for '{names[index]}': keep one of the two")
        try:
            values[index] = float(number)
        except ValueError as error:
            raise MagrefError(
                f"the {what} of '{names[index]}' is '{number.strip()[:40]}', which is no number: write one "
                f"such "
                "as 0.5"
            ) from error
    return tuple(values.get(index, default) for index in range(len(names)))


def check_number(what: str, value: float, low: float, high: float) -> None:
    """Refuse a number out of range.

    Raises:
        MagrefError: it is not from `low` to `high`, or no number at all.
    """
    if not low <= value <= high:  # also for NaN
        raise MagrefError(f"{what} is {value:g}, but must be from {low:g} to {high:g}: 0 turns it off")


def join_plans(plans: Sequence[SubjectPlan]) -> SubjectPlan | None:
    """The plans of all rows of a batch as one; None if there is nothing to do."""
    injections = tuple(one for plan in plans for one in plan.injections)
    boosts = tuple(one for plan in plans for one in plan.boosts)
    return SubjectPlan(injections=injections, boosts=boosts) if injections or boosts else None


def _a(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"


def _read(subject: BoundSubject, text_len: int) -> tuple[int, ...]:
    positions = tuple(position for position in subject.positions if position < text_len)
    if not positions:
        raise MagrefError(
            f"'{subject.name}' is to be told apart by its words, but in what the model reads of the prompt, "
            f"{text_len} tokens, it is not named: write @{subject.name} early in the prompt of MAGREF Bind "
            "Subjects, or set its alpha to 0"
        )
    return positions


def _check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise MagrefError(f"{what} is {value!r}, which is unknown: choose one of {', '.join(choices)}")
