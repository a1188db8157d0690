import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from magref_core.dit.config import DiTConfig
from magref_core.errors import MagrefError
from magref_core.training.lora import LoraConfig, add_lora, lora_layers, lora_weights
from tests.training_runs import TINY_DIT, TINY_LORA, tiny_dit

TWO_BLOCKS = replace(TINY_DIT, num_layers=2)
LAYERS = [
    f"blocks.{block}.{name}"
    for block in (0, 1)
    for name in (
        *(f"{attention}_attn.{side}" for attention in ("self", "cross") for side in "qkvo"),
        "ffn.0",
        "ffn.2",
    )
]


def with_lora(lora: LoraConfig = TINY_LORA, *, is_trained=False, config: DiTConfig = TWO_BLOCKS):
    dit = tiny_dit(config)
    generator = torch.Generator().manual_seed(0)
    add_lora(dit, lora, generator)
    if is_trained:
        for _, layer in lora_layers(dit):
            layer.lora_B.data.normal_(0, 0.05, generator=generator)
    return dit


@torch.no_grad()
def answer(dit):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 36, 2, 4, 4, generator=generator)
    text, image = torch.randn(2, 4, 16, generator=generator), torch.randn(2, 3, 16, generator=generator)
    return dit(x, torch.tensor([300.0, 800.0]), text, image)


def test_a_fresh_lora_changes_nothing():
    assert torch.equal(answer(with_lora()), answer(tiny_dit(TWO_BLOCKS)))


def test_only_the_two_matrices_of_each_target_are_trained():
    trained = {name for name, weight in with_lora().named_parameters() if weight.requires_grad}
    assert trained == {f"{layer}.{side}" for layer in LAYERS for side in ("lora_A", "lora_B")}


def test_a_layer_adds_the_scaled_product_of_its_matrices():
    linear = nn.Linear(6, 5)
    model = nn.Sequential(linear)
    add_lora(model, LoraConfig(rank=3, alpha=12.0, targets="0"), torch.Generator().manual_seed(0))
    ((_, layer),) = lora_layers(model)
    layer.lora_B.data.normal_()
    x = torch.randn(2, 4, 6)
    delta = 12.0 / 3 * layer.lora_B @ layer.lora_A
    torch.testing.assert_close(model(x), x @ (linear.weight + delta).T + linear.bias)


def test_the_first_matrix_is_drawn_within_its_bound_and_by_the_generator():
    first, again, other = (nn.Sequential(nn.Linear(64, 4)) for _ in range(3))
    for model, seed in ((first, 1), (again, 1), (other, 2)):
        add_lora(model, LoraConfig(rank=50, targets="0"), torch.Generator().manual_seed(seed))
    a = first[0].lora_A.detach()
    assert torch.equal(a, again[0].lora_A)
    assert not torch.equal(a, other[0].lora_A)
    assert a.abs().max() <= 64**-0.5
    assert a.var().item() == pytest.approx(1 / 64 / 3, rel=0.1)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model = nn.Sequential(nn.Linear(4, 4))
    after_model = torch.get_rng_state()
    add_lora(model, LoraConfig(targets="0"), torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), after_model)
    assert not torch.equal(before, after_model)


def test_merging_and_taking_out_again_is_a_round_trip():
    dit = with_lora(is_trained=True)
    before, base = answer(dit), {path: layer.base.weight.clone() for path, layer in lora_layers(dit)}
    assert not torch.allclose(before, answer(tiny_dit(TWO_BLOCKS)), atol=1e-3)
    for _, layer in lora_layers(dit):
        layer.merge()
        layer.merge()  # twice is once
    torch.testing.assert_close(answer(dit), before, atol=1e-4, rtol=1e-4)
    for path, layer in lora_layers(dit):
        torch.testing.assert_close(layer.base.weight, base[path] + layer.scale * layer.lora_B @ layer.lora_A)
        layer.merge(undo=True)
        layer.merge(undo=True)
        torch.testing.assert_close(layer.base.weight, base[path], atol=1e-6, rtol=0)
    torch.testing.assert_close(answer(dit), before, atol=1e-5, rtol=1e-5)


def test_a_file_holds_the_names_that_the_loader_of_the_host_reads():
    """`diffusion_model.<path of the layer>` with `.lora_A.weight`, `.lora_B.weight` and `.alpha`."""
    weights = lora_weights(with_lora(is_trained=True))
    assert set(weights) == {
        f"diffusion_model.{layer}.{end}"
        for layer in LAYERS
        for end in ("lora_A.weight", "lora_B.weight", "alpha")
    }
    paths = {f"diffusion_model.{name}" for name in tiny_dit(TWO_BLOCKS).state_dict()}
    for name, value in weights.items():
        layer = re.sub(r"\.(lora_[AB]\.weight|alpha)$", "", name)
        assert f"{layer}.weight" in paths
        assert not value.requires_grad
        if name.endswith("alpha"):
            assert value == TINY_LORA.alpha


def test_what_the_host_makes_of_a_file_is_what_was_trained():
    """The host adds alpha / rank B A, with the rank as the rows of A, to the matrix of the same path."""
    trained, plain = with_lora(is_trained=True), tiny_dit(TWO_BLOCKS)
    weights = lora_weights(trained)
    for layer in LAYERS:
        up, down, alpha = (
            weights[f"diffusion_model.{layer}.{end}"] for end in ("lora_B.weight", "lora_A.weight", "alpha")
        )
        plain.get_submodule(layer).weight.data += alpha / down.shape[0] * up @ down
    torch.testing.assert_close(answer(plain), answer(trained), atol=1e-4, rtol=1e-4)


def test_averaged_values_can_be_written_instead():
    dit = with_lora()
    values = {name: torch.full_like(weight, 0.5) for name, weight in dit.named_parameters()}
    weights = lora_weights(dit, values=values)
    assert all((value == 0.5).all() for name, value in weights.items() if not name.endswith("alpha"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_answer_has_the_dtype_of_the_matrix_and_the_lora_is_float32(dtype):
    model = nn.Sequential(nn.Linear(4, 4, dtype=dtype))
    add_lora(model, LoraConfig(targets="0"), torch.Generator().manual_seed(0))
    assert model(torch.ones(1, 4, dtype=dtype)).dtype == dtype
    assert model[0].lora_A.dtype == model[0].lora_B.dtype == torch.float32


def test_targets_that_fit_no_layer_are_refused():
    with pytest.raises(
        MagrefError, match=r"no layer is called 'blocks\.9\.q': correct the targets of the LoRA"
    ):
        add_lora(tiny_dit(), LoraConfig(targets="blocks.9.q"), torch.Generator())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"rank": 0},
            "the LoRA has rank 0 and alpha 32.0, but needs a rank of at least 1 and an alpha above 0",
        ),
        ({"alpha": 0.0}, "alpha 0.0"),
        ({"alpha": float("nan")}, "alpha nan"),
        ({"targets": "blocks.*("}, r"the targets of the LoRA are 'blocks\.\*\(', no regular expression"),
    ],
)
def test_bad_values_are_refused(change, sentence):
    with pytest.raises(MagrefError, match=sentence):
        LoraConfig(**change)
