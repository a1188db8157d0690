"""What a conversion cost: sizes, and the error of each matrix."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .quantise import Loss

NUM_SHOWN = 5
"""Matrices that the text names: those with the largest error."""

_BLOCK = re.compile(r"blocks\.\d+\.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A tensor of the source in the new file."""

    name: str
    source_dtype: str
    loss: Loss | None
    """None: it stays as it is."""


@dataclass(kw_only=True, slots=True)
class Report:
    """Of one conversion."""

    source: str
    target: str
    format: str
    source_bytes: int
    target_bytes: int
    layers: list[Layer] = field(default_factory=list[Layer])
    left_out: tuple[str, ...] = ()
    num_resumed: int = 0
    """Tensors that an earlier, stopped run had done."""
    notes: list[str] = field(default_factory=list[str])
    """Further sentences, such as of a comparison of whole models."""

    @property
    def shortened(self) -> dict[str, Loss]:
        """Name -> loss of the matrices that were shortened."""
        return {layer.name: layer.loss for layer in self.layers if layer.loss is not None}

    @property
    def total(self) -> Loss:
        """All shortened matrices together."""
        return total_of(list(self.shortened.values()))

    def to_json(self) -> str:
        """Everything, as JSON."""
        content: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("source", "target", "format", "source_bytes", "target_bytes")
        }
        content |= {"left_out": list(self.left_out), "num_resumed": self.num_resumed, "notes": self.notes}
        content["total"] = _figures(self.total)
        content["layers"] = [
            {"name": layer.name, "source_dtype": layer.source_dtype}
            | ({"kept": True} if layer.loss is None else _figures(layer.loss))
            for layer in self.layers
        ]
        return json.dumps(content, indent=1)

    def save(self, file: Path) -> None:
        """Write the JSON, whole or not at all; folders are made.

        Raises:
            OSError: the disk is full or refuses.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        text = self.to_json() + "\n"
        if file.is_symlink() or (file.exists() and not file.is_file()):  # a pipe, a terminal, /dev/stdout
            file.write_text(text, encoding="utf-8")
            return
        draft = file.with_name(f".{file.name}.part")
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(file)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)

    def to_text(self) -> str:
        """A few lines and a table, in Markdown: all matrices, each kind, and the worst."""
        losses = self.shortened
        kept = len(self.layers) - len(losses)
        lines = [
            f"{self.source} ({_size(self.source_bytes)}) became {self.target} ({_size(self.target_bytes)}), "
            f"format {self.format}: {len(losses)} matrices shortened, {kept} tensors kept as they were."
        ]
        if self.num_resumed:
            lines.append(f"{self.num_resumed} tensors were done by an earlier run that was stopped.")
        if self.left_out:
            lines.append(
                f"{len(self.left_out)} tensors that the DiT does not know were left out, such as "
                f"{self.left_out[0]}."
            )
        if losses:
            lines += [
                "",
                "| matrices | error | error of outputs | largest error |",
                "| --- | --- | --- | --- |",
            ]
            lines += [_row(f"all {len(losses)}", self.total)]
            for kind in sorted({_BLOCK.sub("", name) for name in losses}):
                found = [loss for name, loss in losses.items() if _BLOCK.sub("", name) == kind]
                lines.append(_row(f"{kind.removesuffix('.weight')} ({len(found)})", total_of(found)))
            worst = sorted(losses, key=lambda name: -losses[name].relative_error)[:NUM_SHOWN]
            lines += [_row(f"worst: {name}", losses[name]) for name in worst]
            lines += [
                "",
                "Errors are norms of differences over norms; outputs are answers to normally distributed "
                "inputs, multiplied by the weights alone.",
            ]
        return "\n".join(lines + (["", *self.notes] if self.notes else []))


def report_of(target: Path) -> Path:
    """Where the JSON lies beside a new file."""
    return target.with_name(f"{target.stem}.report.json")


def total_of(losses: list[Loss]) -> Loss:
    """Several matrices as one."""
    total = Loss()
    for loss in losses:
        for name in ("weight", "error", "output", "output_error"):
            setattr(total, name, getattr(total, name) + getattr(loss, name))
        total.largest_error = max(total.largest_error, loss.largest_error)
    return total


def _figures(loss: Loss) -> dict[str, float]:
    return {
        "relative_error": loss.relative_error,
        "relative_output_error": loss.relative_output_error,
        **asdict(loss),
    }


def _row(label: str, loss: Loss) -> str:
    figures = f"{loss.relative_error:.3%} | {loss.relative_output_error:.3%} | {loss.largest_error:.2g}"
    return f"| {label} | {figures} |"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
