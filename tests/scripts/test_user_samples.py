"""From folders of clips and pictures to training samples, with stand-ins for the host's encoders."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from magref_core.errors import MagrefError
from magref_core.training.augment import OFF
from scripts.training import user_clips, user_data, user_samples
from scripts.training.user_clips import Clip, ClipOptions

OPTIONS = ClipOptions(height=32, width=48, length=9)
CANVASES = user_samples.CanvasOptions(variants=3)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encode(clip):
    """Mean colours of cells and of four frames each, in the first three channels."""
    pixels = clip / 127.5 - 1 if clip.dtype == torch.uint8 else clip
    frames = pixels.permute(3, 0, 1, 2)
    cells = torch.cat([F.avg_pool3d(frames[:, :1], (1, 8, 8)), F.avg_pool3d(frames[:, 1:], (4, 8, 8))], dim=1)
    return torch.cat([cells, torch.zeros(13, *cells.shape[1:])])


ENCODERS = user_samples.UserEncoders(
    video=encode,
    image=lambda pixels: pixels.mean((2, 3))[:, None].expand(1, 5, 3),
    text=lambda prompt: torch.full((len(prompt.split()), 7), 0.5),
    image_size=64,
)


def picture(file, colour=RED, size=(48, 32), alpha=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour)
    if alpha is not None:
        image.putalpha(alpha)
    image.save(file)
    return file


def disc(size=(48, 32), box=(8, 8, 24, 24)):
    """255 in a box, 0 beside it."""
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def video(file, colours, *, fps=16, size=(96, 64)):
    """A clip with one even colour per frame."""
    import av

    file.parent.mkdir(parents=True, exist_ok=True)
    is_gif = file.suffix == ".gif"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("gif" if is_gif else "mpeg4", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if is_gif else "yuv420p"
        for colour in colours:
            pixels = np.broadcast_to(np.array(colour, np.uint8), (size[1], size[0], 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file


@pytest.fixture
def folder(tmp_path):
    """One sample of a clip of twelve frames."""
    video(tmp_path / "walk" / "clip.mp4", [(20 * index, 100, 50) for index in range(12)])
    (tmp_path / "walk" / "prompt.txt").write_text("a fox\n walks ")
    picture(tmp_path / "walk" / "references" / "fox_1.png", GREEN, alpha=disc())
    picture(tmp_path / "walk" / "references" / "fox_2.png", BLUE)
    picture(tmp_path / "walk" / "references" / "background.jpg", (200, 200, 0))
    return tmp_path


@pytest.fixture
def subject(tmp_path):
    """A folder of three pictures of one subject, one of them with a mask."""
    for number, colour in enumerate((RED, GREEN, BLUE), start=1):
        picture(tmp_path / "ann" / f"{number}.png", colour)
    disc().convert("RGB").save(picture(tmp_path / "ann" / "masks" / "2.png"))
    (tmp_path / "ann" / "prompt.txt").write_text("ann stands")
    (tmp_path / "ann" / "3.txt").write_text("ann sits")
    return tmp_path


def refuse(folder, pattern, **options):
    with pytest.raises(MagrefError, match=pattern) as caught:
        for material in user_data.find_materials(folder, **options):
            list(user_samples.make_samples(material, read(material), OPTIONS, CANVASES, ENCODERS))
    assert "\n" not in str(caught.value)


def only(folder, **options):
    (material,) = user_data.find_materials(folder, **options)
    return material


def read(material, options=OPTIONS):
    return user_clips.read_clip(material, options)


def test_a_folder_per_sample_is_read(folder):
    material = only(folder)
    assert (material.name, material.prompt, material.kind) == ("walk", "a fox walks", "video")
    assert [(source.subject, source.kind) for source in material.references] == [
        ("background", "background"),
        ("fox", "object"),
        ("fox", "object"),
    ]
    assert len(material.files) == 6


def test_names_are_read_in_the_order_of_counting(folder):
    (folder / "walk").rename(folder / "walk 10")
    picture(folder / "walk 9" / "picture.png")
    (folder / "walk 9" / "prompt.txt").write_text("x")
    picture(folder / "walk 9" / "references" / "a.png")
    assert [material.name for material in user_data.find_materials(folder)] == ["walk 9", "walk 10"]


def test_crossed_pictures_are_the_references_of_each_other(subject):
    materials = user_data.find_materials(subject, cross=True)
    assert [material.prompt for material in materials] == ["ann stands", "ann stands", "ann sits"]
    assert [[source.file.name for source in material.references] for material in materials] == [
        ["2.png", "3.png"],
        ["1.png", "3.png"],
        ["1.png", "2.png"],
    ]
    assert materials[1].mask is not None and materials[0].mask is None
    assert [material.name for material in user_data.find_materials(subject / "ann", cross=True)] == [
        material.name for material in materials
    ]


def test_a_clip_is_read_in_the_size_and_speed_of_the_model(folder):
    clip = read(only(folder))
    assert clip.frames.shape == (12, 32, 48, 3) and clip.frames.dtype == torch.uint8
    assert (clip.frames[:, 16, 24, 0].float() - 20 * torch.arange(12)).abs().max() < 12
    assert clip.subject is None


@pytest.mark.parametrize(("fps", "shown"), [(8, (0, 2, 4, 6, 8, 10)), (32, [n // 2 for n in range(24)])])
def test_frames_are_left_out_or_repeated_to_keep_the_speed(folder, fps, shown):
    options = ClipOptions(height=32, width=48, length=9, fps=fps)
    reds = read(only(folder), options).frames[:, 16, 24, 0].float()
    assert (reds - 20 * torch.tensor(shown)).abs().max() < 12


@pytest.mark.parametrize("suffix", [".gif", ".mkv", ".avi"])
def test_other_kinds_of_video_are_read(folder, suffix):
    (folder / "walk" / "clip.mp4").unlink()
    video(folder / "walk" / f"clip{suffix}", [RED] * 12, fps=10)
    clip = read(only(folder), ClipOptions(height=32, width=48, length=9, fps=10))
    assert len(clip.frames) == 12
    assert (clip.frames[:, 16, 24].float() - torch.tensor(RED)).abs().max() < 12


def test_what_stands_over_is_cropped_evenly(folder):
    (folder / "walk" / "clip.mp4").unlink()
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(BLUE, (75, 0, 225, 100))
    for number in range(4):
        wide.save(picture(folder / "walk" / "frames" / f"{number}.png"))
    clip = read(only(folder))
    assert len(clip.frames) == 4
    assert (clip.frames[0].float() - torch.tensor(BLUE)).abs().max() < 20  # the filter sees across the cut
    assert torch.equal(clip.frames[0], clip.frames[0].flip(1))


def test_a_still_is_a_clip_that_does_not_move(folder):
    (folder / "walk" / "clip.mp4").unlink()
    picture(folder / "walk" / "picture.png", BLUE)
    clip = read(only(folder))
    assert clip.frames.shape == (4, 32, 48, 3) and clip.subject is None
    assert clip.frames.eq(torch.tensor(BLUE)).all()


def test_a_cut_out_as_a_still_stands_whole_on_white(folder):
    (folder / "walk" / "clip.mp4").unlink()
    picture(folder / "walk" / "picture.png", BLUE, size=(64, 64), alpha=disc((64, 64), (16, 16, 48, 48)))
    clip = read(only(folder))
    assert clip.subject is not None and clip.subject.shape == (4, 32, 48)
    rows, columns = clip.subject[0].any(1).nonzero(), clip.subject[0].any(0).nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 23, 16, 31)
    assert clip.frames[0, 16, 24].tolist() == list(BLUE) and clip.frames[0, 0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("name", ["mask.png", "mask.mp4"])
def test_a_mask_says_where_the_subject_is(folder, name):
    if name == "mask.png":
        disc((96, 64), (0, 0, 48, 64)).save(folder / "walk" / name)
    else:
        video(folder / "walk" / name, [(255, 255, 255)] * 6 + [(0, 0, 0)] * 6)
    subject = read(only(folder)).subject
    assert subject is not None and subject.shape == (12, 32, 48)
    shown = subject[:, :, :24] if name == "mask.png" else subject[:6]
    assert shown.all() and subject.sum() == shown.sum()


def test_a_sample_is_the_canvas_and_then_the_clip(folder):
    material = only(folder)
    samples = list(user_samples.make_samples(material, read(material), OPTIONS, CANVASES, ENCODERS))
    assert len(samples) == 3
    for sample in samples:
        assert {name: tuple(value.shape) for name, value in sample.items()} == {
            "latents": (16, 3, 4, 6),
            "canvas_latents": (16, 3, 4, 6),
            "latent_mask": (4, 6),
            "subject": (3, 4, 6),
            "image_tokens": (5, 3),
            "text": (3, 7),
        }
        assert torch.equal(sample["latents"][:, 0], sample["canvas_latents"][:, 0])
        assert not sample["canvas_latents"][:, 1:].any()
        assert (sample["latents"][1, 1:] - (100 / 127.5 - 1)).abs().max() < 0.1
        assert sample["subject"][1:].eq(255).all()
    assert not torch.equal(samples[0]["canvas_latents"], samples[1]["canvas_latents"])


def test_a_seed_repeats_the_samples_and_another_changes_them(folder):
    material = only(folder)
    clip = read(material)
    first, again, other = (
        list(user_samples.make_samples(material, clip, OPTIONS, canvases, ENCODERS))
        for canvases in (CANVASES, CANVASES, user_samples.CanvasOptions(variants=3, seed=1))
    )
    assert all(
        torch.equal(one[name], two[name]) for one, two in zip(first, again, strict=True) for name in one
    )
    assert not torch.equal(first[0]["canvas_latents"], other[0]["canvas_latents"])


def test_each_subject_stands_once_on_a_canvas_and_its_pictures_take_turns(folder):
    material = only(folder)
    canvases = user_samples.CanvasOptions(variants=4, augment=OFF)
    seen = []
    for sample in user_samples.make_samples(material, read(material), OPTIONS, canvases, ENCODERS):
        levels = sample["canvas_latents"][:3, 0].flatten(1).T  # colours of the cells
        greens = int((levels - torch.tensor([-1.0, 1, -1])).abs().amax(1).lt(0.1).sum())
        blues = int((levels - torch.tensor([-1.0, -1, 1])).abs().amax(1).lt(0.1).sum())
        assert bool(greens) != bool(blues)
        seen.append(bool(greens))
    assert seen in ([True, False] * 2, [False, True] * 2)


def test_drawn_references_reach_the_canvas(folder):
    material = only(folder)

    def covered(drawn):
        canvases = user_samples.CanvasOptions(variants=12, augment=OFF, drawn=drawn)
        samples = user_samples.make_samples(material, read(material), OPTIONS, canvases, ENCODERS)
        return {int(sample["latent_mask"].sum()) for sample in samples}

    assert len(covered(True)) > len(covered(False))


def test_changes_leave_no_trace_of_what_is_under_a_zero_alpha(tmp_path):
    image = Image.new("RGB", (200, 200), (0, 0, 0))
    image.paste(RED, (60, 60, 140, 140))
    image.putalpha(disc((200, 200), (60, 60, 140, 140)))
    image.save(tmp_path / "a.png")
    source = user_data.Source(subject="a", kind="object", file=tmp_path / "a.png")
    options = ClipOptions(height=32, width=32, length=5)
    for seed in range(10):
        canvas = user_samples.draw_canvas([source], options, CANVASES, random.Random(seed))
        assert canvas.image[..., 0].min() > 200  # red and white only, though darker at random


def test_a_reference_is_cropped_to_its_mask(subject):
    material = user_data.find_materials(subject, cross=True)[0]
    image, alpha = user_clips.read_reference(material.references[0])
    assert image.shape == (16, 16, 3) and alpha is not None and alpha.eq(255).all()


def test_a_long_clip_is_cut_at_random_and_a_short_one_to_whole_latent_frames():
    frames = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(40, 1, 1, 3)
    clip = Clip(frames=frames, subject=frames[..., 0] > 5)
    starts = set()
    for seed in range(50):
        part = user_samples.cut(clip, 8, random.Random(seed))
        assert part.subject is not None and torch.equal(part.subject, part.frames[..., 0] > 5)
        assert torch.equal(part.frames.diff(dim=0), torch.ones(7, 1, 1, 3, dtype=torch.uint8))
        starts.add(int(part.frames[0, 0, 0, 0]))
    assert min(starts) < 5 and max(starts) > 27
    short = Clip(frames=frames[:11], subject=None)
    assert len(user_samples.cut(short, 80, random.Random(0)).frames) == 8


def test_nothing_to_learn_from_is_told(tmp_path):
    refuse(tmp_path, r"holds nothing to learn from: put a folder with a clip")
    refuse(tmp_path, r"holds nothing to learn from: put pictures of a subject", cross=True)
    refuse(tmp_path / "none", r"there is no folder .*none: give the one that holds")
    picture(tmp_path / "1.png")
    refuse(tmp_path, r"holds pictures, but no folder per sample: .* add --cross")
    refuse(tmp_path, r"holds 1 pictures, but a subject needs at least 2", cross=True)


def test_missing_parts_of_a_sample_are_told(folder):
    prompt = folder / "walk" / "prompt.txt"
    prompt.write_text(" \n")
    refuse(folder, r"prompt prompt.txt of 'walk' is empty: write what is seen")
    prompt.write_bytes(b"\xff\xfe\xfa")
    refuse(folder, r"prompt prompt.txt of 'walk' cannot be read .*: save it as UTF-8")
    prompt.unlink()
    refuse(folder, r"'walk' has no prompt: write what is seen, and what happens, into prompt.txt")
    prompt.write_text("x")
    for file in (folder / "walk" / "references").iterdir():
        file.unlink()
    refuse(folder, r"'walk' has no references: put pictures of its subjects into walk/references")
    (folder / "walk" / "clip.mp4").unlink()
    refuse(folder, r"'walk' has nothing of the kind, but exactly one of clip.mp4, frames")


def test_two_targets_are_told(folder):
    picture(folder / "walk" / "picture.png")
    refuse(folder, r"'walk' has clip.mp4 and picture.png, but exactly one")
    (folder / "walk" / "picture.png").unlink()
    (folder / "walk" / "clip.webm").write_bytes(b"")
    refuse(folder, r"'walk' holds clip.mp4 and clip.webm, but one is needed: remove the others")


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_an_unreadable_video_is_told(folder, content):
    file = folder / "walk" / "clip.mp4"
    file.write_bytes(file.read_bytes()[:200] if content is None else content)
    refuse(folder, r"walk/clip.mp4 cannot be read \(.*\): export it again as mp4")


def test_a_file_without_pictures_is_told(folder):
    import av

    with av.open(str(folder / "walk" / "clip.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    refuse(folder, r"walk/clip.mp4 holds no pictures: give a video")


def test_a_clip_that_is_too_short_is_told(folder):
    video(folder / "walk" / "clip.mp4", [RED] * 3)
    refuse(folder, r"clip of 'walk' has 3 frames at 16 per second, but at least 4 are needed")


def test_a_broken_picture_is_told(folder):
    (folder / "walk" / "references" / "fox_1.png").write_bytes(b"x")
    refuse(folder, r"canvas of 'walk' cannot be drawn: the picture 'references/fox_1.png' cannot be read")


def test_a_picture_that_is_too_thin_is_told(folder):
    picture(folder / "walk" / "references" / "thread.png", size=(2000, 1))
    refuse(folder, r"canvas of 'walk' cannot be drawn")


def test_a_mask_of_another_length_is_told(folder):
    video(folder / "walk" / "mask.mp4", [RED] * 7)
    refuse(folder, r"mask of 'walk' has 7 frames and its clip 12: make both equally")


def test_masks_that_do_not_fit_are_told(subject):
    disc((9, 9), (0, 0, 5, 5)).save(subject / "ann" / "masks" / "1.png")
    refuse(subject / "ann", r"mask masks/1.png is 9 x 9 pixels, but its picture 48 x 32", cross=True)
    Image.new("L", (48, 32)).save(subject / "ann" / "masks" / "1.png")
    refuse(subject / "ann", r"masks/1.png shows no subject: mark it in white", cross=True)


def test_sizes_and_lengths_are_checked():
    with pytest.raises(MagrefError, match=r"800 x 470 .* use 800 x 464|use 800 x 480"):
        ClipOptions(height=470, width=800)
    with pytest.raises(MagrefError, match=r"80 frames, but the count must be .* use 81"):
        ClipOptions(length=80)
    with pytest.raises(MagrefError, match=r"length is 1 frames and the speed 16 .* at least 5"):
        ClipOptions(length=1)
    with pytest.raises(MagrefError, match=r"speed nan per second"):
        ClipOptions(fps=float("nan"))
    with pytest.raises(MagrefError, match=r"0 canvases per clip: use at least 1"):
        user_samples.CanvasOptions(variants=0)
