"""Segment Anything: the real package, with small random weights in a real file."""

import pickle
import sys

import numpy as np
import pytest
import torch

from magref_core.canvas.references import Reference
from magref_core.errors import CheckpointError, MagrefError
from magref_core.segmentation.cutout import CutOut
from magref_core.segmentation.guess import GuessedPrompt
from magref_core.segmentation.prompts import Box, GivenPrompt, Point, Prompt, read_points
from magref_core.segmentation.sam import SegmentAnything
from magref_core.segmentation.sam_checkpoint import load_sam
from tests.cutout_models import save_sam


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sams") / "sam_tiny.pth"
    save_sam(path)
    return path


def picture(height=48, width=80, **extras):
    image = torch.randint(0, 255, (height, width, 3), generator=torch.Generator().manual_seed(0))
    return Reference(name="ball", image=image.to(torch.uint8), **extras)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (exec, (f"open({self.target!r}, 'w').write('executed')",))


def test_a_model_is_built_from_the_sizes_of_its_weights(file):
    model = load_sam(file)
    weights = torch.load(file, weights_only=True)
    assert set(model.state_dict()) == set(weights)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert model.image_encoder.blocks[0].window_size == 3 and model.image_encoder.blocks[1].window_size == 0
    assert model.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])


def test_points_and_box_reach_the_model_in_its_own_pixels_and_the_mask_comes_back_in_ours(file, monkeypatch):
    model = load_sam(file)
    seen = {}
    forward = model.prompt_encoder.forward

    def spy(*, points, boxes, masks):
        seen.update(points=points, boxes=boxes)
        return forward(points=points, boxes=boxes, masks=masks)

    monkeypatch.setattr(model.prompt_encoder, "forward", spy)
    prompt = Prompt(
        points=(Point(x=20, y=10), Point(x=70, y=40, on_subject=False)),
        box=Box(x=10, y=5, width=40, height=30),
    )
    alpha = SegmentAnything(model=model, prompter=GivenPrompt(prompt=prompt))(picture()).alpha
    assert alpha is not None and alpha.shape == (48, 80) and set(alpha.unique().tolist()) <= {0, 255}
    # 80 x 48 becomes 64 x 38 (rounded), so x is multiplied by 0.8 and y by 38 / 48.
    rows = 38 / 48
    assert torch.allclose(seen["points"][0][0], torch.tensor([[16, 10 * rows], [56, 40 * rows]]), atol=1e-4)
    assert seen["points"][1].tolist() == [[1, 0]]
    expected = torch.tensor([8, 5 * rows, 40, 35 * rows])
    assert torch.allclose(seen["boxes"].flatten(), expected, atol=1e-4)


def test_the_mask_is_what_the_package_itself_predicts(file):
    from segment_anything import SamPredictor

    model = load_sam(file)
    reference = picture()
    prompt = Prompt(points=(Point(x=20, y=10),))
    alpha = SegmentAnything(model=model, prompter=GivenPrompt(prompt=prompt))(reference).alpha
    predictor = SamPredictor(model)
    predictor.set_image(reference.image.numpy())
    masks, scores, _ = predictor.predict(np.array([[20, 10]]), np.array([1]), multimask_output=True)
    assert torch.equal(alpha == 255, torch.as_tensor(masks[scores.argmax()]))


def test_without_a_prompt_the_best_of_all_masks_is_taken(file):
    segmenter = SegmentAnything(
        model=load_sam(file), points_per_side=3, least_quality=-9.0, least_stability=-1.0
    )
    found = segmenter(picture())
    assert found.alpha is not None and found.alpha.shape == (48, 80)
    assert 0 < (found.alpha == 255).float().mean() <= 0.95
    strict = SegmentAnything(model=load_sam(file), points_per_side=2, least_quality=9.0)
    nothing = strict(picture())
    assert nothing.alpha is None
    assert "finds nothing that stands out in the picture of 'ball'" in nothing.warnings[0]


def test_without_a_prompt_a_photograph_is_searched_no_larger_than_the_model_sees_it(file, monkeypatch):
    import segment_anything

    searched = []
    generate = segment_anything.SamAutomaticMaskGenerator.generate

    def spy(self, image):
        searched.append(image.shape)
        return generate(self, image)

    monkeypatch.setattr(segment_anything.SamAutomaticMaskGenerator, "generate", spy)
    options = {"points_per_side": 2, "least_quality": -9.0, "least_stability": -1.0}
    found = SegmentAnything(model=load_sam(file), **options)(picture(height=480, width=800))
    assert searched == [(38, 64, 3)]
    assert found.alpha is not None and found.alpha.shape == (480, 800)
    assert set(found.alpha.unique().tolist()) == {0, 255}
    SegmentAnything(model=load_sam(file), **options)(picture(height=30, width=40))
    assert searched[1] == (30, 40, 3), "a small one is not enlarged"


def test_a_background_stays_whole_and_own_transparency_stays_out(file):
    model = load_sam(file)
    prompter = GivenPrompt(prompt=Prompt(points=(Point(x=20, y=10),)))
    segmenter = SegmentAnything(model=model, prompter=prompter)
    assert segmenter(picture(kind="background")).alpha is None
    own = torch.full((48, 80), 255, dtype=torch.uint8)
    own[:, :40] = 0
    alpha = segmenter(picture(alpha=own)).alpha
    assert alpha is not None and not alpha[:, :40].any()


def test_a_run_ends_between_two_blocks_when_it_is_interrupted(file):
    class Interrupted(BaseException):
        pass

    calls = []

    def check():
        calls.append(None)
        if len(calls) == 2:
            raise Interrupted

    model = load_sam(file)
    prompter = GivenPrompt(prompt=Prompt(points=(Point(x=20, y=10),)))
    with pytest.raises(Interrupted):
        SegmentAnything(model=model, prompter=prompter, check_interrupted=check)(picture())
    assert len(calls) == 2
    assert not model.image_encoder.blocks[0]._forward_pre_hooks  # nothing is left behind


def test_a_pickle_with_code_is_refused_and_nothing_in_it_is_executed(tmp_path):
    marker, evil = tmp_path / "marker", tmp_path / "sam_vit_b.pth"
    evil.write_bytes(pickle.dumps({"image_encoder.pos_embed": Bomb(marker)}))
    with pytest.raises(CheckpointError, match=r"'sam_vit_b.pth' holds no plain weights .* was executed"):
        load_sam(evil)
    torch.save({"image_encoder.pos_embed": Bomb(marker)}, evil)  # the same in torch's own archive
    with pytest.raises(CheckpointError, match=r"holds no plain weights"):
        load_sam(evil)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Bomb(marker)))  # the bomb does work
    assert marker.read_text() == "executed"


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_file_that_is_cut_short_is_refused(file, tmp_path, share):
    short = tmp_path / "short.pth"
    short.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(CheckpointError, match=r"'short.pth' holds no plain weights or is cut short"):
        load_sam(short)


def test_weights_of_another_size_or_of_something_else_are_refused(file, tmp_path):
    weights = torch.load(file, weights_only=True)
    wrong = tmp_path / "wrong.pth"
    torch.save(weights | {"image_encoder.blocks.1.attn.qkv.weight": torch.zeros(5, 5)}, wrong)
    with pytest.raises(CheckpointError, match=r"'wrong.pth' does not fit Segment Anything \(size mismatch"):
        load_sam(wrong)
    torch.save({"model.layer": torch.zeros(3)}, wrong)
    with pytest.raises(CheckpointError, match=r"is no checkpoint of Segment Anything .*patch_embed"):
        load_sam(wrong)
    torch.save([1, 2], wrong)
    with pytest.raises(CheckpointError, match=r"a list in it"):
        load_sam(wrong)
    torch.save({"epoch": 3}, wrong)
    with pytest.raises(CheckpointError, match=r"other things than tensors"):
        load_sam(wrong)
    torch.save({"image_encoder.pos_embed": torch.zeros(1).expand(1, 10**6, 10**6, 8)}, wrong)
    with pytest.raises(CheckpointError, match=r"tensors larger than the file"):
        load_sam(wrong)
    with pytest.raises(CheckpointError, match=r"there is no file 'none.pth'"):
        load_sam(tmp_path / "none.pth")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x02.", id="nothing on the stack"),
        pytest.param(b"\x80\x02\x85.", id="a tuple of nothing"),
        pytest.param(b"\x80\x02]K\x01K\x02s.", id="an item set in a list"),
        pytest.param(b"\x80\x02h\x05.", id="a memo that was never made"),
    ],
)
def test_a_damaged_pickle_is_refused_like_one_that_is_cut_short(tmp_path, content):
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"'damaged.pth' holds no plain weights or is cut short"):
        load_sam(damaged)


def test_sizes_of_which_no_model_can_be_built_are_refused(file, tmp_path):
    weights, wrong = torch.load(file, weights_only=True), tmp_path / "wrong.pth"
    torch.save(weights | {"image_encoder.neck.0.weight": torch.zeros(33, 16, 1, 1)}, wrong)
    with pytest.raises(CheckpointError, match=r"is no checkpoint .*its sizes make no model: .*num_heads"):
        load_sam(wrong)
    torch.save(weights | {"image_encoder.blocks.0.attn.rel_pos_h": torch.zeros(5, 99)}, wrong)
    with pytest.raises(CheckpointError, match=r"is no checkpoint .*its sizes make no model"):
        load_sam(wrong)


def test_a_missing_package_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(MagrefError, match=r"needs segment-anything, .*: install segment-anything, or choose"):
        load_sam(file)


def test_points_are_read_and_nonsense_is_refused():
    points = read_points(" 12,8 ; !3.5, 4;")
    assert points == (Point(x=12, y=8), Point(x=3.5, y=4, on_subject=False))
    assert read_points("  ") == ()
    for text in ("12", "a,b", "-3,4", "1,2,3", "nan,1"):
        with pytest.raises(MagrefError, match=r"cannot be read: write x,y in pixels"):
            read_points(text)
    with pytest.raises(MagrefError, match=r"all points lie beside the subject"):
        read_points("!1,2")
    with pytest.raises(MagrefError, match=r"65 points are given, but at most 64"):
        read_points("1,2;" * 65)


def test_points_and_boxes_outside_the_picture_are_refused():
    with pytest.raises(
        MagrefError, match=r"the point 80,10 lies outside the picture of 'ball', which is 80 x 48"
    ):
        GivenPrompt(prompt=Prompt(points=(Point(x=80, y=10),)))(picture())
    with pytest.raises(MagrefError, match=r"the box lies outside the picture of 'ball'"):
        GivenPrompt(prompt=Prompt(box=Box(x=90, y=0, width=5, height=5)))(picture())
    inside = GivenPrompt(prompt=Prompt(box=Box(x=-5, y=40, width=20, height=20)))(picture())
    assert inside.box == Box(x=0, y=40, width=15, height=8)
    for size in (0, float("nan"), -1):
        with pytest.raises(MagrefError, match=r"needs a width and a height above 0"):
            Box(x=0, y=0, width=size, height=5)


def test_a_guess_points_into_what_a_simpler_back_end_finds():
    alpha = torch.zeros(48, 80, dtype=torch.uint8)
    alpha[10:30, 20:60] = 255
    prompt = GuessedPrompt(segmenter=lambda reference: CutOut(alpha=alpha))(picture())
    assert prompt.box == Box(x=20, y=10, width=40, height=20)
    (point,) = prompt.points
    assert 28 <= point.x <= 52 and 18 <= point.y <= 22
    lost = GuessedPrompt(segmenter=lambda reference: CutOut(alpha=None))(picture())
    assert lost == Prompt(points=(Point(x=40, y=24),))
