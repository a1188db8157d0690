"""What is computed once per run changes no bit of any run, is used where it may be, and ends with the run."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import comfy.model_management
import comfy.patcher_extension
import pytest
import torch
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_hooks import CreateHookLoraModelOnly, SetModelHooksOnCond
from comfy_extras.nodes_torch_compile import TorchCompileModel
from magref_pack.magref_core.dit import prepared as prepared_module
from magref_pack.nodes import run_memory
from magref_pack.nodes.guider import ReferenceGuider
from magref_pack.nodes.memory_plan import with_smaller_plan
from safetensors.torch import save_file

import nodes

from . import lora_files, runs, test_subject_controls
from .test_compat_compile import compiled_blocks, fresh_compiler, graphs
from .test_compat_patches import replaced_cross_attention, with_options
from .test_compat_windows import with_windows

__all__ = ["fresh_compiler"]

STEPS = 3
GB = 10**9
KINDS = comfy.patcher_extension.WrappersMP


@pytest.fixture
def seen(monkeypatch):
    """Every memory that is made, and for each time that something was prepared the number of its keys."""
    found = {"memories": [], "prepared": [], "most": 0}

    class Watched(prepared_module.RunMemory):
        def __init__(self):
            super().__init__()
            found["memories"].append(self)

        def recall(self, *args, **kwargs):
            result = super().recall(*args, **kwargs)
            found["most"] = max(found["most"], self.num_bytes)
            return result

    compute = prepared_module.prepare

    def counted(*args, **kwargs):
        result = compute(*args, **kwargs)
        found["prepared"].append(len(result.keys_values))
        return result

    monkeypatch.setattr(run_memory, "RunMemory", Watched)
    monkeypatch.setattr(prepared_module, "prepare", counted)
    return found


def forgetful(model):
    """A clone whose runs have no memory."""
    result = model.clone()
    result.remove_wrappers_with_key(KINDS.OUTER_SAMPLE, run_memory.MEMORY)
    return result


def assert_same(model, seen, sample=runs.sample, **changes):
    """With memory and without; gives how often something was prepared, and with how many blocks' keys."""
    plain = sample(forgetful(model), steps=STEPS, **changes)
    assert not seen["memories"]
    result = sample(model, steps=STEPS, **changes)
    assert torch.equal(result, plain)
    assert all(memory.num_bytes == 0 for memory in seen["memories"])
    return seen["prepared"]


@pytest.mark.parametrize("sample", [runs.sample, runs.magref_sample])
@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_a_run_prepares_once(seen, sample, cfg):
    assert assert_same(runs.our_model(), seen, sample, cfg=cfg) == [3]


def test_prompts_that_share_no_pass_are_prepared_apart(seen):
    model = runs.our_model()
    model.model_options = with_smaller_plan(model.model_options)
    assert assert_same(model, seen) == [3, 3]


def test_nothing_is_kept_where_all_prompts_together_do_not_fit(seen, monkeypatch):
    model = runs.our_model()
    monkeypatch.setattr(model.model, "memory_required", lambda *args, **kwargs: 1e20)
    assert_same(model, seen)
    assert seen["most"] == 0


def test_what_is_kept_never_splits_a_pass(seen, monkeypatch):
    """Free memory is a little more than the host asks for both prompts, but for what is kept of them."""
    model, passes = runs.our_model(), []
    watched = with_wrapper(model, "magref_test", lambda args: passes.append(len(args[-1]["uuids"])))
    monkeypatch.setattr(model.model, "memory_required", lambda shape, **_: shape[0] * GB)
    needed = 1.5 * 2 * GB
    runs.sample(model, steps=1)
    kept = seen["most"]
    assert kept > 0
    seen["memories"].clear()
    seen["most"] = 0

    def free(_device=None, torch_free_too=False):
        left = needed + kept - 1 - sum(memory.num_bytes for memory in seen["memories"])
        return (left, left) if torch_free_too else left

    monkeypatch.setattr(comfy.model_management, "get_free_memory", free)
    assert_same(watched, seen)
    assert 0 < seen["most"] < kept, "the tokens alone"
    assert passes == [2] * (2 * STEPS)


def with_wrapper(model, key, change):
    """A clone that hands the arguments of its DiT to a function first."""

    def wrap(executor, *args, **kwargs):
        change(args)
        return executor(*args, **kwargs)

    result = model.clone()
    result.add_wrapper_with_key(KINDS.DIFFUSION_MODEL, key, wrap)
    return result


def halve_the_text(args):
    args[2].mul_(0.5)


def halve_the_text_of_a_block(args, extra):
    args["txt"].mul_(0.5)
    return extra["original_block"](args)


def test_a_wrapper_of_another_pack_may_write_to_the_prompt(seen):
    model = runs.our_model()
    other = with_wrapper(model, "other pack", halve_the_text)
    assert assert_same(other, seen) == []
    assert not torch.equal(runs.sample(other), runs.sample(model))


def test_a_replaced_block_may_write_to_the_tokens_of_the_prompt(seen):
    model = runs.our_model()
    other = model.clone()
    other.set_model_patch_replace(halve_the_text_of_a_block, "dit", "double_block", 1)
    assert assert_same(other, seen) == []
    assert not torch.equal(runs.sample(other), runs.sample(model))


def test_deep_copies_of_the_options_copy_neither_model_nor_memory(seen):
    copies = []

    def wrap(executor, *args, **kwargs):
        memory = kwargs["transformer_options"] if "transformer_options" in kwargs else args[5]
        copies.append((memory[run_memory.MEMORY], copy.deepcopy(memory[run_memory.MEMORY])))
        return executor(*args, **kwargs)

    model = runs.our_model()
    model.add_wrapper_with_key(KINDS.APPLY_MODEL, "other pack", wrap)
    runs.sample(model, steps=1)
    ((memory, copied),) = copies
    assert copied == memory
    assert copied.known is memory.known
    assert copied.model_id == id(model.model)


def test_prompts_of_parts_of_the_picture_switch_it_off():
    """Their passes are of several sizes, so nobody knows the largest one."""
    guider = SimpleNamespace(model_options={}, conds={"positive": [{"area": (2, 2, 0, 0)}], "negative": []})

    class Executor:
        class_obj = guider

        def __call__(self):
            return dict(guider.model_options["transformer_options"])

    assert run_memory._with_memory(Executor()) == {}


def test_windows_share_what_was_prepared(seen):
    size = {"frames": 7}
    changes = {"pair": runs.prompts(**size), "latent": runs.empty(**size)}
    assert assert_same(with_windows(runs.our_model(), retain=True), seen, **changes) == [3]


def test_a_lora_is_in_what_was_prepared(seen, tmp_path, monkeypatch):
    lora_files.show_folder(tmp_path, monkeypatch)
    save_file(lora_files.lora("native"), tmp_path / "lora.safetensors")
    model = runs.our_model()
    (with_lora,) = nodes.LoraLoaderModelOnly().load_lora_model_only(model, "lora.safetensors", 0.8)
    assert assert_same(with_lora, seen) == [3]
    assert not torch.equal(runs.sample(with_lora), runs.sample(model))
    assert torch.equal(runs.sample(model), runs.sample(forgetful(model)))


def test_a_lora_of_one_prompt_switches_it_off(seen, tmp_path, monkeypatch):
    lora_files.show_folder(tmp_path, monkeypatch)
    save_file(lora_files.lora("native"), tmp_path / "lora.safetensors")
    (hooks,) = CreateHookLoraModelOnly().create_hook_model_only("lora.safetensors", 0.8)
    positive, negative = runs.prompts()
    (positive,) = SetModelHooksOnCond().attach_hook(positive, hooks)
    assert assert_same(runs.our_model(), seen, pair=(positive, negative)) == []


def test_skipped_steps_are_the_same(seen):
    model = EasyCacheNode.execute(runs.our_model(), 0.9, 0.0, 1.0, False).args[0]
    assert assert_same(model, seen) == [3]


@pytest.mark.parametrize(("node", "values"), test_subject_controls.KINDS)
def test_controls_of_subjects_are_the_same(seen, node, values):
    model = runs.our_model()
    pair = test_subject_controls.controlled(model, node, values)
    assert assert_same(model, seen, pair=pair) == [3]


def test_a_third_answer_of_the_model_has_its_own(seen):
    model = runs.our_model()
    guider = ReferenceGuider.execute(model, *runs.prompts(), 5.0, 2.5, "joint", 1.0, 0.0, 0.0, "zeros").args[
        0
    ]
    latent, sigmas = runs.empty()["samples"], torch.tensor([1.0, 0.7, 0.4, 0.0])
    noise, sampler = torch.ones_like(latent), runs.MagrefSolver.execute("euler", True).args[0]
    result = guider.sample(noise, latent, sampler, sigmas)
    assert sum(seen["prepared"]) == 3 * len(seen["prepared"]) > 0
    guider.model_patcher = forgetful(model)
    guider.model_options = guider.model_patcher.model_options
    assert torch.equal(guider.sample(noise, latent, sampler, sigmas), result)


def test_a_compiled_model_is_one_graph_from_the_first_step_on(seen):
    model = TorchCompileModel.execute(runs.our_model(), "eager").args[0]
    assert assert_same(model, seen) == [3]
    torch._dynamo.reset()
    graphs_before = graphs()["graphs"]
    runs.sample(model, steps=STEPS)
    runs.sample(model, steps=STEPS + 1)
    assert graphs() == {"graphs": graphs_before + 1, "breaks": 0}


def test_compiled_blocks_are_not_compiled_again_between_steps_and_runs(seen):
    model = compiled_blocks(runs.our_model())
    runs.sample(model, steps=1)
    first = graphs()
    runs.sample(model, steps=STEPS)
    assert graphs() == first
    assert first["breaks"] == 0
    assert seen["prepared"] == [3, 3]


def test_a_cross_attention_of_another_pack_switches_it_off(seen):
    assert assert_same(replaced_cross_attention(runs.our_model()), seen) == []


def test_an_attention_of_another_node_gets_keys_that_are_its_own(seen):
    def override(attention, q, k, v, *args, **kwargs):
        return attention(q, k.mul_(0.5), v, *args, **kwargs)

    assert assert_same(with_options(runs.our_model(), optimized_attention_override=override), seen) == [0]


def test_without_room_only_the_embeddings_are_kept(seen, monkeypatch):
    monkeypatch.setattr(run_memory, "SHARE", 1e12)
    assert assert_same(runs.our_model(), seen) == [0]


def test_weights_that_are_streamed_leave_the_memory_to_themselves():
    patcher, cpu = runs.our_model(), torch.device("cpu")
    model = patcher.model
    model.current_patcher = patcher
    assert run_memory._spare(model, [2, 16, 2, 4, 6], cpu) > 0
    model.model_lowvram = True
    assert run_memory._spare(model, [2, 16, 2, 4, 6], cpu) == 0


@pytest.mark.parametrize(("loaded", "spare"), [(0, -10), (16, 6), (18, 8)])
def test_weights_that_come_at_use_keep_their_room(monkeypatch, loaded, spare):
    """Dynamic video memory: 18 GB of weights, 14 GB free, and 4 GB for the largest pass."""
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda _: 14 * GB)
    patcher = SimpleNamespace(
        is_dynamic=lambda: True, model_size=lambda: 18 * GB, loaded_size=lambda: loaded * GB
    )
    model = SimpleNamespace(
        model_lowvram=False, current_patcher=patcher, memory_required=lambda shape: shape[0] * 2 * GB
    )
    assert run_memory._spare(model, [2, 16, 21, 60, 104], torch.device("cpu")) == spare * GB


@pytest.mark.parametrize(
    "error", [comfy.model_management.InterruptProcessingException, torch.OutOfMemoryError]
)
def test_a_run_that_ends_early_leaves_nothing(seen, error):
    model = runs.our_model()

    def stop(*args, **kwargs):
        raise error

    stopped = model.clone()
    stopped.set_model_sampler_post_cfg_function(stop)
    with pytest.raises(error):
        runs.sample(stopped)
    (memory,) = seen["memories"]
    assert seen["most"] > 0
    assert memory.num_bytes == 0
    assert run_memory.MEMORY not in stopped.model_options["transformer_options"]
    assert torch.equal(runs.sample(model), runs.sample(forgetful(model)))


def test_a_gradient_or_training_switches_it_off(monkeypatch):
    patcher = runs.our_model()
    patcher.model.current_patcher = patcher
    assert run_memory._may_use(patcher.model, {})
    with torch.inference_mode(False), torch.enable_grad():
        assert not run_memory._may_use(patcher.model, {})
    monkeypatch.setattr(comfy.model_management, "in_training", True)
    assert not run_memory._may_use(patcher.model, {})
