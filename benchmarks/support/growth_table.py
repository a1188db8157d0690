"""The growth benchmark in Markdown: a row for each size, a curve for each model, and the whole run."""

from __future__ import annotations

from typing import Any

from .growth_fit import Growth, fit_growth
from .projection import projection_table

OURS, NATIVE, OFFICIAL = "ours", "native", "official"
GIB = 2**30
LAYERS = 40
"""Of the released model."""
PROJECTED = ("480p", 81)


def fastest(row: dict[str, Any], model: str) -> float | None:
    """The least disturbed pass of a model; None where it did not run."""
    seconds = row["seconds"].get(model)
    return min(seconds) if seconds else None


def floors(row: dict[str, Any], rates: dict[str, float]) -> tuple[float, float]:
    """Seconds of the products at the rate of the best one, and of the traffic at that of a copy."""
    return (
        row["flops"] / rates["matmul_flops_per_second"],
        row["bytes"] / rates["copied_bytes_per_second"],
    )


def size_table(result: dict[str, Any]) -> str:
    """Time of one pass at each size, beside its floors."""
    models = result["models"]
    has_peak = any(any(row["peak_bytes"].values()) for row in result["rows"])
    heads = [f"{model} | times the floor" for model in models]
    heads += [f"ours / {model}" for model in models if model != OURS]
    heads += [f"memory beyond weights, {model}" for model in models] if has_peak else []
    lines = [
        f"| size | pixels | tokens | floor of products | floor of traffic | {' | '.join(heads)} |",
        "| --- | --- | ---: | ---: | ---: |" + " ---: |" * (len(" | ".join(heads).split(" | "))),
    ]
    for row in result["rows"]:
        compute, traffic = floors(row, result["rates"])
        cells = [f"{compute:.3f} s", f"{traffic:.3f} s"]
        ours = fastest(row, OURS)
        for model in models:
            time = fastest(row, model)
            cells += (
                [row["faults"].get(model, ""), ""] if time is None else _time(time, max(compute, traffic))
            )
        for model in models:
            if model != OURS:
                other = fastest(row, model)
                cells.append("" if ours is None or other is None else f"{ours / other:.3f}")
        if has_peak:
            cells += [_peak(row["peak_bytes"].get(model)) for model in models]
        pixels = f"{row['width']} x {row['height']}"
        lines.append(f"| {row['label']} | {pixels} | {row['tokens']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(seconds: float, floor: float) -> list[str]:
    return [f"{seconds:.3f} s", f"{seconds / floor:.2f}"]


def _peak(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.1f} GiB"


def curves(result: dict[str, Any]) -> dict[str, Growth]:
    """The curve of each model that ran in three sizes or more."""
    found: dict[str, Growth] = {}
    for model in result["models"]:
        points = [
            (row["tokens"], time) for row in result["rows"] if (time := fastest(row, model)) is not None
        ]
        if len({tokens for tokens, _ in points}) >= 3:
            found[model] = fit_growth(*(list(column) for column in zip(*points, strict=True)))
    return found


def growth_lines(result: dict[str, Any]) -> list[str]:
    """The curves in words, and that of the products alone."""
    lines = [f"- {model}: {growth.sentence()}." for model, growth in curves(result).items()]
    if not lines:
        return ["- No curve: fewer than three sizes ran."]
    rows, rate = result["rows"], result["rates"]["matmul_flops_per_second"]
    floor = fit_growth([row["tokens"] for row in rows], [row["flops"] / rate for row in rows])
    return [*lines, f"- floor of products: {floor.sentence()}."]


def whole_run_lines(result: dict[str, Any]) -> list[str]:
    """The projection, or what to run for it."""
    wanted = [row for row in result["rows"] if (row["resolution"], row["frames"]) == PROJECTED]
    if result["device"] != "cuda" or not wanted:
        return [
            "Whole run of the released model: not measured; it needs a CUDA card and 480p with 81 frames: "
            "`python scripts/bench.py growth --device cuda`"
        ]
    times = {model: time for model in result["models"] if (time := fastest(wanted[0], model)) is not None}
    shape = result["shape"]
    return [
        projection_table(
            times, measured_layers=shape["num_layers"], layers=LAYERS, gpu=str(result["machine"]["gpu"])
        )
    ]


def official_lines(result: dict[str, Any]) -> list[str]:
    """What was measured as the official program."""
    official = result["official"]
    if official is None:
        return ["- The official program: not measured; `--official DIR` names a checkout of it."]
    notes = (
        f" In the place of what is not installed: {'; '.join(official['notes'])}."
        if official["notes"]
        else ""
    )
    return [
        f"- The official program: commit {official['commit']}, float32 weights"
        f"{' under autocast to bfloat16' if result['device'] == 'cuda' else ''}, attention "
        f"`{official['attention']}`.{notes}"
    ]


def report(result: dict[str, Any]) -> str:
    """The whole report."""
    shape, rates = result["shape"], result["rates"]
    difference = ", ".join(f"{model} {value:.1e}" for model, value in result["largest_difference"].items())
    attention = ", ".join(f"{model} `{name}`" for model, name in result["attentions"].items())
    lines = [
        f"# Growth with size on {result['device']}, {result['date']}",
        "",
        f"One forward pass through ComfyUI {result['comfyui']}, the fastest of {result['rounds']} in turns"
        f"{', in processor time of one thread' if result['device'] == 'cpu' else ''}; all models have "
        f"the same random weights and inputs. Attention: {attention}.",
        "",
        size_table(result),
        "",
        *growth_lines(result),
        "",
        *whole_run_lines(result),
        "",
        f"- Shape: dim {shape['dim']}, feed-forward {shape['ffn_dim']}, {shape['num_heads']} heads, "
        f"{shape['num_layers']} layers, {shape['dtype']}.",
        f"- Floors: {rates['matmul_flops_per_second'] / 1e12:.3f} TFLOP/s in the best product of the "
        f"feed-forward, {rates['copied_bytes_per_second'] / 1e9:.1f} GB/s in a copy; a pass is held against "
        "the larger of the two.",
        *official_lines(result),
        f"- Largest difference from ours: {difference}.",
        f"- Other programs kept {result['foreign_cores']:.2f} cores busy in the middle pass.",
        f"- Commit: {result['commit']}.",
        f"- Machine: {', '.join(f'{key} {value}' for key, value in result['machine'].items())}.",
        "",
        f"Again: `python scripts/bench.py growth {result['command']}`",
    ]
    return "\n".join(lines) + "\n"
