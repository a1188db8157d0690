"""The growth benchmark: sizes, floors, curves, projections, and the official code from a checkout."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from benchmarks.support.dit_models import IMAGE_TOKENS, Shape, random_weights
from benchmarks.support.growth_fit import fit_growth
from benchmarks.support.growth_sizes import FRAMES, forward_bytes, sizes_for, weight_bytes
from benchmarks.support.growth_table import curves, growth_lines, report, size_table, whole_run_lines
from benchmarks.support.projection import PUBLISHED, projection_table, whole_run
from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from magref_core.errors import MagrefError, ShapeError

TINY = Shape(
    config=DiTConfig(dim=128, ffn_dim=96, num_heads=2, num_layers=3), latent=(3, 4, 6), dtype=torch.float32
)


def sizes(device="cuda", **changes):
    wanted = {
        "layers": None,
        "resolutions": ["480p", "720p"],
        "frames": list(FRAMES),
        "dtype": torch.bfloat16,
    }
    return sizes_for(device, **{**wanted, **changes})


def test_the_sizes_are_those_of_the_released_model():
    tokens = {size.label: size.shape.num_tokens for size in sizes()}
    assert tokens["480p, 81 frames"] == 32760
    assert tokens["720p, 161 frames"] == 41 * 45 * 80
    assert list(tokens.values()) == sorted(tokens.values())
    assert {size.shape.config for size in sizes(layers=40)} == {DiTConfig()}


def test_products_and_attention_balance_on_a_cpu_where_they_do_in_the_released_model():
    def balance(config):  # of 2 (6 d^2 + 2 d f) n and 4 d n^2
        return 3 * config.dim + config.ffn_dim

    large, small = sizes()[0].shape, sizes("cpu")[0].shape
    ratio = [max(s.shape.num_tokens for s in sizes(d)) for d in ("cuda", "cpu")]
    assert balance(small.config) / balance(large.config) == pytest.approx(ratio[1] / ratio[0], rel=0.25)


def test_a_length_that_no_video_has_is_refused():
    with pytest.raises(ShapeError, match=r"the video has 80 frames, .* use 81"):
        sizes(frames=[80])


def test_the_traffic_is_what_products_and_attentions_read_and_write():
    moved = {"values": 0, "read": set()}
    kept = []

    def count(*tensors, out):
        for tensor in tensors:  # what several products read is read once
            if id(tensor) not in moved["read"]:
                moved["read"].add(id(tensor))
                moved["values"] += tensor.numel()
        kept.extend(tensors)
        moved["values"] += out.numel()

    def attention(q, k, v, *, heads, transformer_options):
        out = torch.zeros_like(q)
        if k.shape[1] == IMAGE_TOKENS:  # shares queries and result with the attention to the text
            moved["values"] += k.numel() + v.numel()
        else:
            moved["values"] += 2 * q.numel() + k.numel() + v.numel()
        return out

    config = TINY.config
    model = MagrefDiT(config, Backend(attention=attention))
    for name, module in model.named_modules():
        if name.startswith("blocks.") and isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, given, out: count(*given, out=out))
    x = torch.zeros(1, config.in_dim, *TINY.latent)
    prompt, image = torch.zeros(1, 512, config.text_dim), torch.zeros(1, IMAGE_TOKENS, config.clip_dim)
    with torch.inference_mode():
        model(x, torch.zeros(1), prompt, image)
    # The context is sliced anew in each block for text and image, and so is counted there as we count it.
    assert forward_bytes(TINY) - weight_bytes(TINY) == 4 * moved["values"]
    assert weight_bytes(replace(TINY, dtype=torch.bfloat16)) == weight_bytes(TINY) / 2


@pytest.mark.parametrize("true", [(0.1, 2e-5, 3e-9), (0.0, 2e-5, 3e-9), (0.5, 0.0, 1e-8), (0.2, 1e-5, 0.0)])
def test_a_curve_is_found_again(true):
    tokens = [560, 1120, 2352, 4592, 9020]
    growth = fit_growth(tokens, [true[0] + true[1] * n + true[2] * n * n for n in tokens])
    assert (growth.constant, growth.linear, growth.quadratic) == pytest.approx(true, rel=1e-6, abs=1e-12)
    assert growth.worst < 1e-6
    assert growth.seconds(1000) == pytest.approx(true[0] + 1e3 * true[1] + 1e6 * true[2])


def test_no_share_of_a_curve_is_negative_and_the_fit_is_the_best_of_those():
    tokens = [1000, 2000, 3000, 4000]
    growth = fit_growth(tokens, [1.0, 1.9, 2.7, 3.4])  # bends down: the exact fit has a negative square
    assert growth.quadratic == 0 and growth.linear > 0
    assert growth.worst < 0.06
    assert growth.balance is None


def test_two_sizes_make_no_curve():
    with pytest.raises(ValueError, match="2 different sizes were measured, but a curve needs 3"):
        fit_growth([1, 2, 2], [1.0, 2.0, 2.0])


def test_a_whole_run_is_its_passes_times_the_share_of_layers():
    assert whole_run(1.5, 80, measured_layers=10, layers=40) == 480
    for numbers in ((0.0, 80, 10), (1.0, 0, 10), (1.0, 80, 0)):
        with pytest.raises(ValueError, match="make no run: give 1 or more of each"):
            whole_run(numbers[0], numbers[1], measured_layers=numbers[2], layers=40)


def test_the_projection_stands_beside_the_published_numbers():
    text = projection_table({"ours": 0.5, "official": 1.0}, measured_layers=10, layers=40, gpu="NVIDIA H200")
    assert [row.seconds for row in PUBLISHED] == [366, 191, 107, 14]
    assert "| official code, 40 steps with guidance | 366 s | 80 | 160 s | 320 s |" in text
    assert "| and with step caching (TeaCache 0.2) | 107 s | fewer | not projected | not projected |" in text
    assert "| 4 steps without guidance, distilled, in fp8 | 14 s | 4 | 8 s | 16 s |" in text
    assert "not the one that was published" not in text
    other = projection_table({"ours": 0.5}, measured_layers=10, layers=40, gpu="NVIDIA L4")
    assert other.endswith("This card is a NVIDIA L4, not the one that was published.")


def result(device="cpu", frames=(17, 81, 161)):
    rows = [
        {
            "label": f"480p, {count} frames",
            "resolution": "480p",
            "height": 480,
            "width": 832,
            "frames": count,
            "tokens": 100 * count,
            "flops": 10**10 * count,
            "bytes": 10**7 * count,
            "seconds": {"ours": [0.04 * count, 0.02 * count], "native": [0.04 * count]},
            "peak_bytes": {"ours": 2**30 * count if device == "cuda" else None},
            "faults": {},
        }
        for count in frames
    ]
    return {
        "device": device,
        "machine": {"gpu": "NVIDIA H200"},
        "models": ["ours", "native"],
        "rates": {"matmul_flops_per_second": 1e12, "copied_bytes_per_second": 1e9},
        "rows": rows,
        "shape": {"num_layers": 10},
    }


def test_a_row_holds_the_fastest_pass_against_the_larger_floor():
    row = next(line for line in size_table(result()).splitlines() if "81 frames" in line)
    assert row.startswith("| 480p, 81 frames | 832 x 480 | 8,100 | 0.810 s | 0.810 s | ")
    assert row.endswith(" | 1.620 s | 2.00 | 3.240 s | 4.00 | 0.500 |")
    traffic = result()
    traffic["rates"]["copied_bytes_per_second"] = 0.5e9
    assert "| 0.810 s | 1.620 s | 1.620 s | 1.00 |" in size_table(traffic)


def test_a_size_that_has_no_room_is_told_and_the_rest_stays():
    full = result("cuda")
    full["rows"][2]["seconds"] = {"ours": [9.0]}
    full["rows"][2]["faults"] = {"native": "out of memory"}
    row = next(line for line in size_table(full).splitlines() if "161 frames" in line)
    assert "| 9.000 s | 5.59 | out of memory |  |  | 161.0 GiB |  |" in row
    assert set(curves(full)) == {"ours"}
    columns = {line.count("|") for line in size_table(full).splitlines()}
    assert len(columns) == 1


def test_curves_are_told_in_words_beside_that_of_the_floor():
    ours, native, floor = growth_lines(result())
    assert ours.startswith("- ours: t = 0 ms + 200 ms k + 0 ms k^2")
    assert native.startswith("- native: t = 0 ms + 400 ms k")
    assert floor.startswith("- floor of products: t = 0 ms + 100 ms k")
    assert growth_lines(result(frames=(17, 81))) == ["- No curve: fewer than three sizes ran."]


def test_the_report_names_the_attention_of_each_model():
    full = result() | {
        "date": "2026-01-01",
        "commit": "abc",
        "command": "--device cpu",
        "comfyui": "0.30.0",
        "attentions": {"ours": "attention_pytorch", "native": "attention_sub_quad"},
        "official": None,
        "rounds": 2,
        "largest_difference": {"native": 1e-5},
        "foreign_cores": 0.5,
    }
    full["shape"] |= {"dim": 256, "ffn_dim": 704, "num_heads": 2, "dtype": "float32"}
    assert "Attention: ours `attention_pytorch`, native `attention_sub_quad`." in report(full)
    assert "The official program: not measured" in report(full)


def test_without_a_card_the_whole_run_is_called_not_measured():
    (text,) = whole_run_lines(result())
    assert text.startswith("Whole run of the released model: not measured")
    assert "not measured" in whole_run_lines(result("cuda", frames=(17, 33, 49)))[0]
    (table,) = whole_run_lines(result("cuda"))
    assert "| official code, 40 steps with guidance | 366 s | 80 | 518 s | 1037 s |" in table


CHECKOUT_MODEL = """
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from .attention import flash_attention

class WanModel(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, patch_size=(1, 2, 2), **shape):
        super().__init__()
        self.patch_size = patch_size
        self.scale = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, t, context, seq_len, clip_fea, y):
        assert seq_len == 18 and y[0].shape[0] == 20 and t.item() == 500
        return [flash_attention(x[0], None, None) * self.scale]
"""

CHECKOUT_ATTENTION = """
def flash_attention(q, k, v):
    raise AssertionError("no flash-attention here")

def attention(q, k, v, dtype=None):
    return q.to(dtype)
"""


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "magref" / "modules"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").write_text("raise ImportError('the whole program')")
    (folder / "model.py").write_text(CHECKOUT_MODEL)
    (folder / "attention.py").write_text(CHECKOUT_ATTENTION)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("magref", "diffusers"):
            del sys.modules[name]


def load(checkout, weights=None):
    official = pytest.importorskip("benchmarks.support.official_model", exc_type=ImportError)
    return official.load_official(checkout, weights or {"scale": torch.full((1,), 2.0)}, TINY, "cpu")


def test_the_official_model_is_called_as_the_host_calls_its_own(checkout):
    official = load(checkout)
    x = torch.ones(1, 16, *TINY.latent)
    answer = official.apply_model(
        x,
        torch.full((1,), 0.5),
        c_concat=torch.zeros(1, 20, *TINY.latent),
        c_crossattn=torch.zeros(1, 512, 8),
        clip_fea=torch.zeros(1, IMAGE_TOKENS, 8),
        transformer_options={},
    )
    assert torch.equal(answer, torch.zeros_like(x))  # 1 - 0.5 * (2 * 1)
    assert official.attention == "scaled_dot_product_attention"
    assert any(note.startswith("flash-attention:") for note in official.notes)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (
            lambda m: (m / "model.py").unlink(),
            "lacks magref/modules/model.py: point --official at a checkout",
        ),
        (lambda m: (m / "attention.py").write_text("x = 1"), "cannot be imported here .*flash_attention"),
        (
            lambda m: (m / "attention.py").write_text("import absent_package"),
            "absent_package.*: install what",
        ),
        (
            lambda m: (m / "attention.py").write_text("def flash_attention(): pass"),
            "has no attention in magref/modules/attention.py",
        ),
        (
            lambda m: (m / "model.py").write_text("from .attention import flash_attention"),
            "has no WanModel in magref/modules/model.py",
        ),
        (
            lambda m: (m / "model.py").write_text(CHECKOUT_MODEL.replace("self.scale", "self.other")),
            r"is not the one that MAGREF was released with \(Error.* in loading state_dict",
        ),
        (
            lambda m: (m / "model.py").write_text(CHECKOUT_MODEL.replace("**shape", "dim=1")),
            r"is not the one that MAGREF was released with \(.*unexpected keyword argument",
        ),
    ],
)
def test_a_checkout_that_lacks_something_is_one_sentence(checkout, damage, match):
    damage(checkout / "magref" / "modules")
    with pytest.raises(MagrefError, match=match):
        load(checkout)


def test_random_weights_have_the_names_of_the_official_model():
    names = set(random_weights(TINY, "cpu"))
    assert {"blocks.0.self_attn.q.weight", "img_emb.proj.1.weight", "head.modulation"} <= names
