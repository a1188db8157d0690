"""From the time of one forward pass to that of a whole run, beside what others published of whole runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PUBLISHED_ON = "H200"
PUBLISHED_SOURCE = "LightX2V's benchmark of Wan2.1-I2V-14B-480P, 81 frames, on one H200"


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A whole run, from prompt to frames."""

    label: str
    seconds: float
    forwards: int | None
    """Passes of the DiT, 2 per step with guidance; None where caching leaves some out."""


PUBLISHED = (
    Published(label="official code, 40 steps with guidance", seconds=366, forwards=80),
    Published(label="the same in fp8, with tiled decoding", seconds=191, forwards=80),
    Published(label="and with step caching (TeaCache 0.2)", seconds=107, forwards=None),
    Published(label="4 steps without guidance, distilled, in fp8", seconds=14, forwards=4),
)


def whole_run(forward_seconds: float, forwards: int, *, measured_layers: int, layers: int) -> float:
    """Seconds of all passes of the DiT in a run; text encoder, VAE and CLIP come on top.

    Args:
        forward_seconds: of one pass, for one prompt.
        forwards: passes.
        measured_layers: of the model that was timed.
        layers: of the model that is meant. What stands outside the blocks counts as a share of them, which
            errs by less than a hundredth.

    Raises:
        ValueError: a number below 1, or no time.
    """
    if min(forwards, measured_layers, layers) < 1 or forward_seconds <= 0:
        raise ValueError(
            f"{forwards} passes of {forward_seconds} s with {measured_layers} of {layers} layers make no "
            "run: give 1 or more of each"
        )
    return forward_seconds * forwards * layers / measured_layers


def projection_table(
    forward_seconds: Mapping[str, float], *, measured_layers: int, layers: int, gpu: str
) -> str:
    """What whole runs would take, in Markdown.

    Args:
        forward_seconds: model -> seconds of one pass at 832 x 480 with 81 frames.
        measured_layers: as for `whole_run`.
        layers: as for `whole_run`.
        gpu: name of the card that was measured.
    """
    names = list(forward_seconds)
    lines = [
        f"| 832 x 480, 81 frames | published | passes | {' | '.join(names)} |",
        f"| --- | ---: | ---: |{' ---: |' * len(names)}",
    ]
    for row in PUBLISHED:
        cells = [
            "not projected"
            if row.forwards is None
            else f"{whole_run(time, row.forwards, measured_layers=measured_layers, layers=layers):.0f} s"
            for time in forward_seconds.values()
        ]
        passes = "fewer" if row.forwards is None else row.forwards
        lines.append(f"| {row.label} | {row.seconds:.0f} s | {passes} | {' | '.join(cells)} |")
    other = "" if PUBLISHED_ON in gpu else f" This card is a {gpu}, not the one that was published."
    lines += [
        "",
        f"Published: {PUBLISHED_SOURCE}, everything included. Projected: passes of the DiT alone, in the "
        f"dtype of this run, from one pass of {measured_layers} layers times {layers}/{measured_layers}."
        f"{other}",
    ]
    return "\n".join(lines)
