"""What a run needs of memory, what is there, and what will be done about it, in words."""

from __future__ import annotations

from dataclasses import dataclass

GB = 10**9
HEADROOM = 1.5
"""ComfyUI answers several prompts in one pass only with so many times the memory of the pass to spare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryNeed:
    """Bytes that a run asks for."""

    weights: int
    """Of the model, as it is kept in memory."""
    one_pass: int
    """For the answer to one prompt, beside the weights."""
    prompts: int = 2
    """That are answered at each step; 1 without guidance."""

    @property
    def together(self) -> int:
        """All weights, and one pass."""
        return self.weights + self.one_pass


def plan_memory(need: MemoryNeed, free: int, *, weights_give_way: bool = False) -> str:
    """What will happen, in one sentence.

    Args:
        need: of the run.
        free: bytes that the run may have, those that other models would be removed from among them.
        weights_give_way: whether the host rather streams weights than answers prompts one by one, as it does
            under dynamic video memory; else it loads as many weights as leave room for one pass.

    Returns:
        Whether weights stay on the card or are streamed, and whether prompts are answered one by one. Nothing
        is said of a slowdown, which depends on the way to main memory.

    Source: ComfyUI, comfy/samplers.py, `_calc_cond_batch`, and comfy/model_management.py, `load_models_gpu`.
    """
    words = (
        f"needs {gigabytes(need.together)} ({gigabytes(need.weights)} of weights and "
        f"{gigabytes(need.one_pass)} to compute), {gigabytes(free)} free"
    )
    if need.one_pass > free:
        return f"{words}: will probably run out of memory, even with all weights in main memory"
    loaded = min(need.weights, free - need.one_pass)
    room = free if weights_give_way else free - loaded
    is_split = need.prompts > 1 and need.prompts * need.one_pass * HEADROOM >= room
    in_use = need.one_pass if is_split else need.prompts * need.one_pass
    streamed = need.weights - (min(need.weights, free - in_use) if weights_give_way else loaded)
    answer = (
        f"{words}: will stream {gigabytes(streamed)} of weights from main memory at each step"
        if streamed
        else f"{words}: all weights fit"
    )
    return f"{answer}, and the prompts are answered one after the other" if is_split else answer


def gigabytes(num_bytes: int) -> str:
    """In units of 10^9 bytes, or of 10^6 where it is little."""
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB / 10 else f"{num_bytes / 1e6:.1f} MB"


def second_try(*, is_split: bool, moves_weights: bool) -> str:
    """What is different in it, in words.

    Args:
        is_split: whether prompts that shared a pass get one each.
        moves_weights: whether more of the weights are kept in main memory.
    """
    parts = ["the prompts one by one"] * is_split + ["more of the weights in main memory"] * moves_weights
    return f"with {' and '.join(parts)}" if parts else "without the other models"


def sampling_remedy(
    need: MemoryNeed | None,
    free: int,
    *,
    frames: int,
    width: int,
    height: int,
    second: str | None,
    on_card: bool = True,
) -> str:
    """What to say after a run that did not fit.

    Args:
        need: of the run, where it is known.
        free: bytes that were free when it ended.
        frames: of the video.
        width: of the video in pixels.
        height: of the video in pixels.
        second: what was different in the second try, see `second_try`; None where there was none.
        on_card: whether it ran on a graphics card.
    """
    needed = (
        ""
        if need is None
        else (
            f"it needs about {gigabytes(need.one_pass)} to compute beside {gigabytes(need.weights)} of "
            "weights, "
        )
    )
    twice = "" if second is None else f" twice, the second time {second}"
    return (
        f"sampling {frames} frames at {width} x {height} ran out of memory{twice}: {needed}{gigabytes(free)} "
        "are free: use fewer frames, a smaller size, or a shorter file of the model (fp8, GGUF Q4_K), or "
        f"{_others(on_card)}"
    )


def _others(on_card: bool) -> str:
    return "close what else uses the card" if on_card else "close other programs"


def decoding_remedy(
    needed: int, free: int, *, width: int, height: int, tile_size: int | None, on_card: bool = True
) -> str:
    """What to say after a video that could not be decoded, in ComfyUI's tiles either.

    Args:
        needed: bytes, as ComfyUI reckons for whole frames.
        free: bytes that were free when it ended.
        width: of the video in pixels.
        height: of the video in pixels.
        tile_size: that was chosen; 0 for whole frames, after which ComfyUI tries tiles of 256 pixels. None
            likewise, where there is nothing to choose.
        on_card: whether it ran on a graphics card.
    """
    smaller = tile_size if tile_size is None else max(64, (tile_size or 256) // 64 * 32)
    tiles = f"tiles of {tile_size} pixels" if tile_size else "whole frames and in tiles of 256 pixels"
    remedy = f"set tile_size to {smaller}" if tile_size != smaller else "use a smaller size of the video"
    return (
        f"decoding {width} x {height} ran out of memory in {tiles}: whole frames need about "
        f"{gigabytes(needed)}, {gigabytes(free)} are free: {remedy}, or {_others(on_card)}"
    )
