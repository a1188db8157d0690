from __future__ import annotations

import json
import os
from pathlib import Path

import folder_paths
import numpy as np
import pytest
import torch
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes.entries import input_file, parse_entries
from magref_pack.nodes.references import LoadReferences
from PIL import Image


@pytest.fixture
def input_folder(tmp_path, monkeypatch):
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(folder))
    return folder


def save_picture(path, height=6, width=4, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return torch.from_numpy(pixels)


def entries(*items):
    return json.dumps(list(items))


def load(references="[]", **sockets):
    return LoadReferences.execute(references, **sockets).args[0]


def test_files_and_sockets_arrive_in_the_order_of_the_list_and_then_of_the_sockets(input_folder):
    pixels = save_picture(input_folder / "alice.png")
    image = torch.rand(1, 5, 7, 3)
    loaded = load(
        entries({"image": "image_2", "name": "ball"}, {"file": "alice.png", "kind": "person"}),
        images={"image_1": torch.zeros(1, 3, 3, 3), "image_2": image},
    )
    assert [(reference.name, reference.kind) for reference in loaded] == [
        ("ball", "object"),
        ("alice", "person"),
        ("image_1", "object"),
    ]
    assert torch.equal(loaded[1].image, pixels)
    assert torch.equal(loaded[0].image, (image[0] * 255).round().to(torch.uint8))


def test_an_eight_bit_picture_survives_the_hosts_image_format_without_a_change(input_folder):
    pixels = torch.arange(256, dtype=torch.uint8).reshape(16, 16, 1).expand(16, 16, 3)
    as_image = torch.from_numpy(pixels.numpy().astype(np.float32) / 255.0)[None]
    assert torch.equal(load(images={"image_1": as_image})[0].image, pixels)


def test_the_alpha_of_a_picture_from_another_node_is_its_cut_out():
    image = torch.rand(1, 5, 7, 4)
    loaded = load(images={"image_1": image})[0]
    assert torch.equal(loaded.alpha, (image[0, ..., 3] * 255).round().to(torch.uint8))
    assert loaded.image.shape == (5, 7, 3)


def test_a_list_that_comes_over_a_link_is_looked_at_later():
    assert LoadReferences.validate_inputs(references=None) is True
    assert LoadReferences.fingerprint_inputs(references=None) == LoadReferences.fingerprint_inputs(
        references=""
    )


@pytest.mark.parametrize("name", ["a\u0000.png", "x" * 300 + ".png"])
def test_a_name_that_no_file_can_have_is_refused_without_a_path(input_folder, name):
    with pytest.raises(MagrefError, match=r"cannot be a file's: give its name") as caught:
        input_file(name)
    assert str(input_folder) not in str(caught.value)


def test_a_mask_becomes_the_cut_out_of_the_picture_with_its_number():
    mask = torch.zeros(1, 4, 6)
    mask[:, 1:3, 2:5] = 1
    loaded = load(
        images={"image_1": torch.rand(1, 4, 6, 3), "image_2": torch.rand(1, 4, 6, 3)}, masks={"mask_2": mask}
    )
    assert loaded[0].alpha is None
    assert torch.equal(loaded[1].alpha, (mask[0] * 255).to(torch.uint8))


def test_the_fingerprint_changes_with_the_file_and_not_with_time(input_folder):
    text = entries({"file": "alice.png"})
    save_picture(input_folder / "alice.png", seed=0)
    first = LoadReferences.fingerprint_inputs(references=text)
    os.utime(input_folder / "alice.png", (1, 1))
    assert LoadReferences.fingerprint_inputs(references=text) == first
    save_picture(input_folder / "alice.png", seed=1)
    assert LoadReferences.fingerprint_inputs(references=text) != first


def test_no_reference_is_refused_with_what_to_connect():
    with pytest.raises(MagrefError, match=r"no reference is given.*connect a picture to image_1"):
        load()


@pytest.mark.parametrize(
    "name", ["../secret.png", "sub/../../secret.png", "{outside}/secret.png", "link.png"]
)
def test_a_file_outside_the_input_folder_is_refused(input_folder, tmp_path, name):
    save_picture(tmp_path / "secret.png")
    (input_folder / "sub").mkdir()
    (input_folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(MagrefError, match=r"lies outside ComfyUI's input folder: copy it there"):
        input_file(name.format(outside=tmp_path))


def test_a_name_that_leads_outside_is_refused_before_anything_there_is_looked_for(input_folder, monkeypatch):
    looked_for = []
    for method in ("resolve", "is_file"):
        real = getattr(Path, method)
        monkeypatch.setattr(
            Path, method, lambda self, real=real: (looked_for.append(str(self)), real(self))[1]
        )
    for name in ("/elsewhere/secret.png", "../secret.png"):
        with pytest.raises(MagrefError, match=r"lies outside ComfyUI's input folder"):
            input_file(name)
    assert set(looked_for) == {str(input_folder)}


def test_a_file_in_a_subfolder_is_found_with_and_without_the_hosts_suffix(input_folder):
    (input_folder / "cast").mkdir()
    save_picture(input_folder / "cast" / "alice.png")
    assert input_file("cast/alice.png") == input_file("cast/alice.png [input]")


def test_a_missing_file_is_named_before_anything_runs(input_folder):
    answer = LoadReferences.validate_inputs(references=entries({"file": "nobody.png"}))
    assert "'nobody.png' is not in ComfyUI's input folder" in answer
    assert LoadReferences.validate_inputs(references="[]", images={}, masks={}) is True


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100000, "nested too deeply: write a list such as"),
        ("[{", "are not JSON .* write a list such as"),
        (f'[{{"name": {"1" * 5000}}}]', "hold a number that cannot be read: write a list such as"),
        (
            json.dumps([{"file": "a.png", "photos": ["a.png"] * 128}]),
            "129 pictures are in use, but at most 128 can be laid out at once: switch some off",
        ),
        ('{"file": "a.png"}', "are a dict, but a list is needed"),
        ('["a.png"]', 'reference 1 is "a.png", but an entry in braces is needed'),
        ('[{"file": "a.png", "name": 7}]', "name of reference 1 is 7, but must be a text"),
        ('[{"file": "a.png", "off": "yes"}]', 'off of reference 1 is "yes", but must be true or false'),
        ('[{"file": "a.png", "keep_whole": 1}]', "keep_whole of reference 1 is 1, but must be true or false"),
        ('[{"file": "a.png", "photos": "b.png"}]', 'photos of reference 1 is "b.png", but must be a list'),
        ('[{"file": "a.png", "photos": [1]}]', r"photos of reference 1 is \[1\], but must be a list"),
        ('[{"file": "a.png", "photos": ["b.png"]}, {"file": "c.png", "name": "a 2"}]', "names must differ"),
        ('[{"name": "alice"}]', "must have either a file or an image socket"),
        ('[{"file": "a.png", "image": "image_1"}]', "must have either a file or an image socket"),
        ('[{"file": "a.png", "kinds": "person"}]', "has the field 'kinds': use only"),
        ('[{"file": "a.png", "kind": "hero"}]', "a is of kind 'hero': use person, object, background"),
        ('[{"file": "a.png", "name": ""}]', "name"),
        ('[{"file": "a.png", "name": "x/y"}]', "slash"),
        ('[{"file": "a.png", "name": "Eve"}, {"file": "b.png", "name": "eve"}]', "names must differ"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_with_the_remedy(text, sentence):
    with pytest.raises(MagrefError, match=sentence):
        parse_entries(text)


def test_a_batch_of_pictures_in_one_socket_is_refused():
    with pytest.raises(MagrefError, match=r"image_1 carries 2 pictures, but one is needed"):
        load(images={"image_1": torch.rand(2, 4, 4, 3)})


def test_a_named_socket_without_a_picture_is_refused():
    with pytest.raises(MagrefError, match=r"ball names the socket 'image_3', but nothing is connected"):
        load(entries({"image": "image_3", "name": "ball"}))


def test_a_mask_without_its_picture_is_refused():
    with pytest.raises(MagrefError, match=r"mask_2 is connected but image_2 is not"):
        load(images={"image_1": torch.rand(1, 4, 4, 3)}, masks={"mask_2": torch.ones(1, 4, 4)})


def test_a_mask_of_another_size_than_its_picture_is_refused():
    with pytest.raises(MagrefError, match=r"64 x 64"):
        load(images={"image_1": torch.rand(1, 4, 6, 3)}, masks={"mask_1": torch.ones(1, 64, 64)})


def test_an_empty_mask_is_refused_with_its_likely_reason():
    with pytest.raises(MagrefError, match=r"InvertMask"):
        load(images={"image_1": torch.rand(1, 4, 6, 3)}, masks={"mask_1": torch.zeros(1, 4, 6)})


@pytest.mark.parametrize(
    ("middle", "frame", "sentence"),
    [
        (0, 1, "the cut-out of 'image_1' keeps the border of its picture and leaves out the middle"),
        (1, 1, "the cut-out of 'image_1' covers the whole picture, nothing was cut away"),
        (1, 0, None),
    ],
)
def test_an_inverted_or_full_mask_is_used_and_pointed_out(caplog, middle, frame, sentence):
    mask = torch.full((1, 40, 60), float(frame))
    mask[:, 5:35, 5:55] = middle
    loaded = load(images={"image_1": torch.rand(1, 40, 60, 3)}, masks={"mask_1": mask})
    assert torch.equal(loaded[0].alpha > 0, mask[0] > 0)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [sentence in warning for warning in warnings] == ([True] if sentence else [])


def test_each_photo_of_a_subject_becomes_a_reference_of_its_own(input_folder):
    pixels = [save_picture(input_folder / f"{number}.png", seed=number) for number in range(3)]
    loaded = load(
        entries(
            {"file": "0.png", "name": "alice", "kind": "person", "photos": ["1.png", "2.png"]},
            {"file": "0.png", "name": "cup", "keep_whole": True},
        )
    )
    assert [(r.name, r.kind, r.subject, r.keep_whole) for r in loaded] == [
        ("alice", "person", "alice", False),
        ("alice 2", "person", "alice", False),
        ("alice 3", "person", "alice", False),
        ("cup", "object", None, True),
    ]
    for reference, expected in zip(loaded, [*pixels, pixels[0]], strict=True):
        assert torch.equal(reference.image, expected)


def test_a_picture_from_another_node_may_have_photos_from_files(input_folder):
    save_picture(input_folder / "side.png")
    loaded = load(
        entries({"image": "image_1", "name": "bob", "photos": ["side.png"]}),
        images={"image_1": torch.rand(1, 5, 7, 3)},
    )
    assert [(r.name, r.subject, r.height) for r in loaded] == [("bob", "bob", 5), ("bob 2", "bob", 6)]


def test_what_is_switched_off_is_neither_read_nor_looked_for(input_folder):
    save_picture(input_folder / "a.png")
    text = entries(
        {"file": "gone.png", "name": "a", "off": True},
        {"file": "a.png"},
        {"image": "image_1", "name": "cup", "off": True},
    )
    assert LoadReferences.validate_inputs(references=text) is True
    LoadReferences.fingerprint_inputs(references=text)
    picture, mask = torch.rand(1, 4, 6, 3), torch.ones(1, 4, 6)
    loaded = load(text, images={"image_1": picture}, masks={"mask_1": mask})
    assert [reference.name for reference in loaded] == ["a"]


def test_a_list_in_which_all_is_switched_off_is_refused(input_folder):
    with pytest.raises(MagrefError, match=r"all references are switched off.*switch one on"):
        load(entries({"file": "a.png", "off": True}, {"file": "b.png", "off": True}))


def test_a_missing_photo_is_named_before_anything_runs(input_folder):
    save_picture(input_folder / "a.png")
    answer = LoadReferences.validate_inputs(references=entries({"file": "a.png", "photos": ["side.png"]}))
    assert "'side.png' is not in ComfyUI's input folder" in answer


def test_the_fingerprint_changes_with_a_photo(input_folder):
    text = entries({"file": "a.png", "photos": ["b.png"]})
    for name in ("a.png", "b.png"):
        save_picture(input_folder / name)
    first = LoadReferences.fingerprint_inputs(references=text)
    save_picture(input_folder / "b.png", seed=1)
    assert LoadReferences.fingerprint_inputs(references=text) != first


def test_the_page_is_sent_a_small_picture_of_each_reference(input_folder):
    save_picture(input_folder / "wide.png", height=300, width=1200)
    cut = torch.zeros(1, 4, 6)
    cut[:, 1:3, 2:5] = 1
    arguments = {"images": {"image_1": torch.rand(1, 4, 6, 3)}, "masks": {"mask_1": cut}}
    text = entries({"file": "wide.png", "kind": "background"})
    shown = LoadReferences.execute(text, **arguments).ui["magref_references"]
    assert [(s["reference"], s["kind"], s["width"], s["height"], s["has_alpha"]) for s in shown] == [
        ("wide", "background", 1200, 300, False),
        ("image_1", "object", 6, 4, True),
    ]
    assert [s.get("image") for s in shown] == [None, "image_1"]
    sizes, folder = [], Path(folder_paths.get_temp_directory())
    for item in shown:
        with Image.open(folder / item["subfolder"] / item["filename"]) as small:
            sizes.append((small.size, small.mode))
    assert sizes == [((512, 128), "RGBA"), ((6, 4), "RGBA")]
    assert LoadReferences.execute(text, **arguments).ui["magref_references"] == shown


def test_a_list_of_a_hundred_pictures_still_runs(input_folder):
    save_picture(input_folder / "a.png")
    loaded = load(entries(*({"file": "a.png", "name": f"n{number}"} for number in range(100))))
    assert [reference.name for reference in loaded] == [f"n{number}" for number in range(100)]


@pytest.mark.parametrize("name", ['<img src=x onerror="x()">', 'the "old" cup', "it's", "x" * 64])
def test_a_name_with_quotes_or_tags_is_a_name_like_any_other(input_folder, name):
    save_picture(input_folder / "a.png")
    assert load(entries({"file": "a.png", "name": name}))[0].name == name


def test_a_name_of_three_hundred_characters_is_refused():
    with pytest.raises(MagrefError, match=r"has 300 characters, but at most 64 are allowed: shorten it"):
        parse_entries(entries({"file": "a.png", "name": "x" * 300}))


READ = json.loads((Path(__file__).parents[1] / "reference_lists.json").read_text(encoding="utf-8"))
"""Lists and the names that they give, None for those that are refused; the page's tests read them too."""


@pytest.mark.parametrize("case", READ, ids=lambda case: case["text"][:60])
def test_the_server_reads_as_the_page_does(case):
    if case["names"] is None:
        with pytest.raises(MagrefError):
            parse_entries(case["text"])
        return
    used = [entry for entry in parse_entries(case["text"]) if not entry.off]
    assert [name for entry in used for name in entry.names] == case["names"]
