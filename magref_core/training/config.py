"""One configuration per run, kept as JSON beside the weights."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from ..errors import MagrefError
from .conditions import DropConfig
from .disentangling import DisentanglingConfig
from .files import TrainingError
from .flow import FlowConfig
from .grounding import GroundingConfig
from .lora import LoraConfig, check_pattern
from .rates import RateConfig

Precision = Literal["float32", "bfloat16"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How the DiT is trained.

    Raises:
        MagrefError: a value is outside its range.
    """

    steps: int = 20_000
    batch_size: int = 8
    seed: int = 0
    """Of all draws: samples, noise levels, noise and drops."""
    flow: FlowConfig = field(default_factory=FlowConfig)
    drops: DropConfig = field(default_factory=DropConfig)
    grounding: GroundingConfig = field(default_factory=GroundingConfig)
    disentangling: DisentanglingConfig = field(default_factory=DisentanglingConfig)
    rate: RateConfig = field(default_factory=RateConfig)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Largest norm of all gradients together."""
    average: float = 0.999
    """Decay of the average of the weights, in [0, 1)."""
    clip_lengths: tuple[tuple[float, int], ...] = ()
    """(share of the run, latent frames): up to that share clips are cut to so many latent frames."""
    keep_short: float = 0.0
    """Share of the later steps that stay with the first length, evenly spread, in [0, 1]."""
    lora: LoraConfig | None = None
    """Train this instead of the weights themselves."""
    adapter_steps: int = 0
    """At first train only what `adapter_names` matches, for so many steps."""
    adapter_names: str = r".*(k_img|v_img|img_emb).*"
    precision: Precision = "float32"
    """Of what is multiplied in matrix products."""
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise MagrefError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.precision not in get_args(Precision):
            raise MagrefError(
                f"the precision is '{self.precision}', which is unknown: use one of "
                f"{', '.join(get_args(Precision))}"
            )
        if not 0 <= self.average < 1 or not self.clip_norm > 0 or self.adapter_steps < 0:
            raise MagrefError(
                f"average is {self.average}, clip_norm {self.clip_norm} and adapter_steps "
                f"{self.adapter_steps}: use 0 to below 1, above 0 and at least 0"
            )
        if not all(0 <= beta < 1 for beta in self.betas) or not 0 <= self.weight_decay < math.inf:
            raise MagrefError(
                f"betas are {self.betas} and weight_decay is {self.weight_decay}: use 0 to below 1, and at "
                "least 0"
            )
        if not 0 <= self.keep_short <= 1:
            raise MagrefError(f"keep_short is {self.keep_short}, but must be from 0 to 1")
        if not all(0 <= share <= 1 and frames >= 1 for share, frames in self.clip_lengths):
            raise MagrefError(
                f"clip_lengths are {self.clip_lengths}: use pairs of a share from 0 to 1 and at least 1 frame"
            )
        if self.grounding.weight > 0 and self.gradient_checkpointing:
            raise MagrefError(
                "grounding listens to attention, which gradient checkpointing computes anew: switch one of "
                "them off"
            )
        check_pattern("the adapter_names", self.adapter_names)

    def latent_frames_at(self, step: int) -> int | None:
        """Latent frames to which clips are cut at a step; None for all they have."""
        for part, (share, num_latent_frames) in enumerate(self.clip_lengths):
            if step < share * self.steps:
                is_kept = part > 0 and step * self.keep_short % 1 < self.keep_short
                return self.clip_lengths[0][1] if is_kept else num_latent_frames
        return None


def to_json(config: Any) -> str:
    """Write a configuration dataclass."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(kind: type[T], text: str, *, label: str = "the configuration") -> T:
    """Read a configuration dataclass; keys that are left out keep their defaults.

    Args:
        kind: the dataclass; all its fields have defaults.
        text: JSON as `to_json` writes it.
        label: how messages call it.

    Raises:
        TrainingError: the text is no JSON object, or has a key that is unknown or of the wrong type.
        MagrefError: a value is outside its range.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise TrainingError(f"{label} is not JSON ({error}): correct it") from error
    return cast("T", _read(kind, document, label))


def read_config(kind: type[T], file: Path) -> T:
    """Read a configuration from a file; see `from_json`."""
    if not file.is_file():
        raise TrainingError(f"there is no file {file}: give the path of a configuration")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file.name} cannot be read ({error}): give a text file") from error
    return from_json(kind, text, label=file.name)


def differences(first: Any, second: Any) -> list[str]:
    """Names of the fields in which two configurations of one kind differ."""
    return [f.name for f in dataclasses.fields(first) if getattr(first, f.name) != getattr(second, f.name)]


def _read(kind: Any, value: Any, label: str) -> Any:
    """One value as the type that a field declares."""
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, label)
    origin, arguments = typing.get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _read(arguments[0], value, label)
    if origin is tuple:
        return _read_tuple(kind, value, label)
    if origin is Literal and isinstance(value, str):
        return value  # the dataclass itself knows the choices
    if kind is float and type(value) in (int, float):
        return float(value)
    if type(value) is kind:
        return value
    raise _wrong_type(kind, value, label)


def _read_tuple(kind: Any, value: Any, label: str) -> Any:
    if isinstance(value, list):
        values = cast("list[Any]", value)
        kinds = get_args(kind)
        kinds = kinds[:1] * len(values) if kinds[-1] is ... else kinds
        if len(kinds) == len(values):
            return tuple(_read(each, item, label) for each, item in zip(kinds, values, strict=True))
    raise _wrong_type(kind, cast("object", value), label)


def _wrong_type(kind: Any, value: object, label: str) -> TrainingError:
    needed = str(kind) if typing.get_origin(kind) else kind.__name__
    return TrainingError(f"{label} is {value!r}, but {needed} is needed: correct it")


def _read_dataclass(kind: Any, value: Any, label: str) -> Any:
    if not isinstance(value, dict):
        raise TrainingError(f"{label} is {value!r}, but an object with named values is needed: correct it")
    given = cast("dict[str, Any]", value)
    kinds = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(given) - known):
        raise TrainingError(
            f"{label} has the unknown keys {', '.join(unknown)}: use some of {', '.join(sorted(known))}"
        )
    return kind(**{name: _read(kinds[name], item, f"{name} in {label}") for name, item in given.items()})
