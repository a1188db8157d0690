from __future__ import annotations

import pytest

from magref_core.sampling.memory import (
    GB,
    MemoryNeed,
    decoding_remedy,
    gigabytes,
    plan_memory,
    sampling_remedy,
    second_try,
)

NEED = MemoryNeed(weights=16 * GB, one_pass=5 * GB, prompts=2)


def test_what_fits_is_said_to_fit():
    assert plan_memory(NEED, 40 * GB) == (
        "needs 21.0 GB (16.0 GB of weights and 5.0 GB to compute), 40.0 GB free: all weights fit"
    )


def test_prompts_are_answered_one_by_one_where_both_do_not_fit_beside_the_weights():
    assert plan_memory(NEED, 30 * GB).endswith(
        "all weights fit, and the prompts are answered one after the other"
    )
    alone = MemoryNeed(weights=16 * GB, one_pass=5 * GB, prompts=1)
    assert plan_memory(alone, 30 * GB).endswith("all weights fit")


def test_weights_that_leave_no_room_for_a_pass_are_streamed():
    assert plan_memory(NEED, 16 * GB) == (
        "needs 21.0 GB (16.0 GB of weights and 5.0 GB to compute), 16.0 GB free: will stream 5.0 GB of "
        "weights from main memory at each step, and the prompts are answered one after the other"
    )


def test_under_dynamic_memory_weights_give_way_to_both_prompts_at_once():
    said = plan_memory(NEED, 16 * GB, weights_give_way=True)
    assert said.endswith("will stream 10.0 GB of weights from main memory at each step")
    tight = plan_memory(NEED, 15 * GB, weights_give_way=True)
    assert "will stream 6.0 GB" in tight and tight.endswith("one after the other")


def test_a_pass_that_fits_by_no_means_is_said_before_the_run():
    assert plan_memory(NEED, 4 * GB).endswith(
        "4.0 GB free: will probably run out of memory, even with all weights in main memory"
    )


@pytest.mark.parametrize("free", [5 * GB, 12 * GB, 21 * GB, 31 * GB, 100 * GB])
@pytest.mark.parametrize("gives_way", [False, True])
def test_the_plan_never_asks_for_more_than_is_free(free, gives_way):
    """Against the sentence itself: what stays on the card and what is computed at once."""
    said = plan_memory(NEED, free, weights_give_way=gives_way)
    streamed = float(said.split("will stream ")[1].split(" GB")[0]) if "stream" in said else 0.0
    passes = 1 if "one after the other" in said else 2
    assert 16 - streamed + 5 * passes <= free / GB + 0.05


@pytest.mark.parametrize(
    ("is_split", "moves_weights", "words"),
    [
        (True, True, "with the prompts one by one and more of the weights in main memory"),
        (True, False, "with the prompts one by one"),
        (False, True, "with more of the weights in main memory"),
        (False, False, "without the other models"),
    ],
)
def test_a_second_try_is_told_by_what_is_different(is_split, moves_weights, words):
    assert second_try(is_split=is_split, moves_weights=moves_weights) == words


SIZE = {"frames": 81, "width": 832, "height": 480}


def test_the_sentence_after_a_failure_says_what_was_needed_what_is_free_and_what_to_change():
    second = second_try(is_split=True, moves_weights=True)
    assert sampling_remedy(NEED, 3 * GB, second=second, **SIZE) == (
        "sampling 81 frames at 832 x 480 ran out of memory twice, the second time with the prompts one by "
        "one and more of the weights in main memory: it needs about 5.0 GB to compute beside 16.0 GB of "
        "weights, 3.0 GB are free: use fewer frames, a smaller size, or a shorter file of the model (fp8, "
        "GGUF Q4_K), or close what else uses the card"
    )


def test_the_sentence_of_a_cpu_speaks_of_no_card():
    said = sampling_remedy(None, 3 * GB, second=None, on_card=False, **SIZE)
    assert said == (
        "sampling 81 frames at 832 x 480 ran out of memory: 3.0 GB are free: use fewer frames, a smaller "
        "size, or a shorter file of the model (fp8, GGUF Q4_K), or close other programs"
    )
    decoding = decoding_remedy(5 * GB, GB, width=832, height=480, tile_size=0, on_card=False)
    assert decoding.endswith("set tile_size to 128, or close other programs")


@pytest.mark.parametrize(
    ("tile_size", "tried", "remedy"),
    [
        (0, "in whole frames and in tiles of 256 pixels", "set tile_size to 128"),
        (256, "in tiles of 256 pixels", "set tile_size to 128"),
        (128, "in tiles of 128 pixels", "set tile_size to 64"),
        (64, "in tiles of 64 pixels", "use a smaller size of the video"),
        (None, "in whole frames and in tiles of 256 pixels", "use a smaller size of the video"),
    ],
)
def test_the_sentence_after_a_decoding_names_the_next_smaller_tile(tile_size, tried, remedy):
    said = decoding_remedy(5 * GB, GB, width=832, height=480, tile_size=tile_size)
    assert said == (
        f"decoding 832 x 480 ran out of memory {tried}: whole frames need about 5.0 GB, 1.0 GB are free: "
        f"{remedy}, or close what else uses the card"
    )


def test_little_is_told_in_megabytes():
    assert gigabytes(24_500_000) == "24.5 MB"
    assert gigabytes(GB // 10) == "0.1 GB"
