"""LoRA, LoHa, LoKr and DoRA: parts that make a layer of this model pass, all others are told."""

from __future__ import annotations

import re

import pytest
import torch

from magref_core.errors import CheckpointError

from .test_lora_names import SHAPES, normalised

LAYER = "blocks.0.ffn.0"
OUT, IN = SHAPES[f"{LAYER}.weight"]
PATCHES = SHAPES["patch_embedding.weight"]

Sizes = dict[str, tuple[int, ...]]

LOHA: Sizes = {"hada_w1_a": (OUT, 4), "hada_w1_b": (4, IN), "hada_w2_a": (OUT, 4), "hada_w2_b": (4, IN)}
LOKR: Sizes = {"lokr_w1": (4, 8), "lokr_w2": (OUT // 4, IN // 8)}
LOKR_PAIRS: Sizes = {
    "lokr_w1_a": (4, 2),
    "lokr_w1_b": (2, 8),
    "lokr_w2_a": (OUT // 4, 3),
    "lokr_w2_b": (3, IN // 8),
}
LORA: Sizes = {"lora_down.weight": (4, IN), "lora_up.weight": (OUT, 4)}


def read(sizes: Sizes, layer: str = LAYER):
    return normalised({f"{layer}.{name}": torch.ones(size) for name, size in sizes.items()})


def without(sizes: Sizes, name: str) -> Sizes:
    return {other: size for other, size in sizes.items() if other != name}


@pytest.mark.parametrize(
    "sizes",
    [
        LOHA,
        LOKR,
        LOKR_PAIRS,
        LOKR_PAIRS | {"lokr_w1": (4, 8)},
        without(without(LOKR_PAIRS, "lokr_w2_a"), "lokr_w2_b") | {"lokr_w2": (OUT // 4, IN // 8)},
        {"lokr_w1": (1, IN), "lokr_w2": (OUT, 1)},
        *(way | {"dora_scale": size} for way in (LORA, LOHA, LOKR) for size in ((OUT,), (OUT, 1), (1, IN))),
    ],
)
def test_parts_that_make_the_layer_pass(sizes):
    lora = read(sizes)
    assert lora.layers == (LAYER,) and lora.unknown == lora.misfits == ()
    assert {name.removeprefix(f"diffusion_model.{LAYER}.") for name in lora.weights} == set(sizes)


@pytest.mark.parametrize(
    "sizes",
    [
        {"lokr_w1": (8, 4), "lokr_w2_a": (PATCHES[0] // 8, 2), "lokr_w2_b": (2, PATCHES[1])},
        {"hada_w1_a": (128, 2), "hada_w1_b": (2, 144), "hada_w2_a": (128, 2), "hada_w2_b": (2, 144)},
        {"lora_down.weight": (2, 36, 1, 2, 2), "lora_up.weight": (128, 2, 1, 1, 1)},
        {"lora_down.weight": (2, 144), "lora_up.weight": (128, 2), "dora_scale": (128, 1, 1, 1, 1)},
        {"lora_down.weight": (2, 144), "lora_up.weight": (128, 2), "dora_scale": (1, 36, 1, 1, 1)},
    ],
)
def test_parts_that_make_the_patch_embedding_pass(sizes):
    assert PATCHES == (128, 36, 1, 2, 2)
    assert read(sizes, "patch_embedding").layers == ("patch_embedding",)


@pytest.mark.parametrize(
    ("sizes", "made"),
    [
        (LOKR | {"lokr_w2": (OUT // 4, IN // 4)}, f"{OUT} x {2 * IN}"),
        (LOKR | {"lokr_w1": (8, 4)}, f"{2 * OUT} x {IN // 2}"),
        (LOKR_PAIRS | {"lokr_w2_b": (3, IN)}, f"{OUT} x {8 * IN}"),
        (LOKR | {"lokr_w2": (OUT // 4, IN // 8, 1)}, f"{OUT // 4} x {IN // 2} x 8"),
        (LOHA | {"hada_w1_a": (IN, 4), "hada_w2_a": (IN, 4)}, f"{IN} x {IN}"),
        (
            LOHA | {"hada_w1_b": (4, 1536), "hada_w2_b": (4, 1536)},
            f"{OUT} x 1536 (Wan 2.1 1.3B is that wide)",
        ),
        # Of as many numbers, which ComfyUI would take for the layer.
        ({"lokr_w1": (8, 4), "lokr_w2": (IN // 8, OUT // 4)}, f"{IN} x {OUT}"),
        (LORA | {"dora_scale": (2 * OUT, 1)}, f"{2 * OUT} x 1"),
        (LORA | {"dora_scale": (IN,)}, f"{IN}"),
        (LORA | {"dora_scale": (1, OUT)}, f"1 x {OUT}"),
    ],
)
def test_parts_that_make_a_layer_of_another_model_are_refused(sizes, made):
    sentence = (
        f"my.safetensors is a LoRA of another model: its {LAYER} is {made}, but here it is {OUT} x {IN}: "
        "choose a LoRA that was made for this model"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(sentence)}$"):
        read(sizes)


@pytest.mark.parametrize("sizes", [LOHA, LOKR, LOKR_PAIRS, LORA | {"dora_scale": (OUT, 1)}])
def test_outside_the_blocks_they_are_counted_and_left_out(sizes):
    fitting = {f"{LAYER}.{name}": torch.ones(size) for name, size in LOKR.items()}
    lora = normalised(
        fitting | {f"text_embedding.2.{name}": torch.ones(size) for name, size in sizes.items()}
    )
    assert SHAPES["text_embedding.2.weight"] not in ((OUT, IN), (IN, OUT))
    assert lora.misfits == ("text_embedding.2",) and lora.layers == (LAYER,)
    assert set(lora.unknown) == {f"text_embedding.2.{name}" for name in sizes}
    assert (lora.num_matched, lora.num_keys) == (2, 2 + len(sizes))
    assert not any("text" in name for name in lora.weights)


@pytest.mark.parametrize("sizes", [LOKR, LOHA])
def test_norms_have_no_place_for_matrices(sizes):
    assert read(sizes, "img_emb.proj.0").misfits == ("img_emb.proj.0",)


@pytest.mark.parametrize(
    ("sizes", "held", "lacking"),
    [
        *((without(LOHA, name), next(iter(without(LOHA, name))), name) for name in LOHA),
        *((without(LOKR_PAIRS, name), next(iter(without(LOKR_PAIRS, name))), name) for name in LOKR_PAIRS),
        (without(LOKR, "lokr_w1"), "lokr_w2", "lokr_w1_a"),
        (without(LOKR, "lokr_w2"), "lokr_w1", "lokr_w2_a"),
    ],
)
def test_parts_of_which_one_is_missing_are_refused(sizes, held, lacking):
    sentence = f"^my.safetensors holds {held} of {LAYER} and lacks {lacking}: download it again$"
    with pytest.raises(CheckpointError, match=sentence):
        read(sizes)


@pytest.mark.parametrize(
    ("sizes", "given"),
    [
        (LOHA | {"hada_w2_b": (5, IN)}, f"5 x {IN} and {OUT} x 4"),
        (LOKR_PAIRS | {"lokr_w1_a": (4, 3)}, "2 x 8 and 4 x 3"),
        (LOKR_PAIRS | {"lokr_w2_b": (3, IN // 8, 1)}, f"3 x {IN // 8} x 1 and {OUT // 4} x 3"),
        (LORA | {"lora_down.weight": (5, IN)}, f"5 x {IN} and {OUT} x 4"),
    ],
)
def test_pairs_of_two_ranks_are_refused(sizes, given):
    sentence = (
        f"^my.safetensors has factors of {LAYER} that do not fit each other, {given}, but the rank must be "
        "the same: download it again$"
    )
    with pytest.raises(CheckpointError, match=sentence):
        read(sizes)


def test_products_of_a_loha_that_are_of_two_shapes_are_refused():
    sentence = (
        f"^my.safetensors has the two products of {LAYER}, {OUT} x {IN} and {OUT} x 1, that are to be "
        "multiplied number by number, but these must be of one shape: download it again$"
    )
    with pytest.raises(CheckpointError, match=sentence):
        read(LOHA | {"hada_w2_b": (4, 1)})


@pytest.mark.parametrize("name", ["hada_t1", "hada_t2", "lokr_t2"])
def test_the_form_of_tucker_is_refused(name):
    sizes = (LOHA if name.startswith("hada") else LOKR_PAIRS) | {name: (4, 4, 1, 1, 1)}
    sentence = (
        rf"^my.safetensors has {LAYER} in Tucker's form \({name}\), but ComfyUI knows it for image models "
        "alone: choose a LoRA that was trained without use_tucker$"
    )
    with pytest.raises(CheckpointError, match=sentence):
        read(sizes)
