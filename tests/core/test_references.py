import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from magref_core.canvas.references import Reference, check_names, read_picture
from magref_core.errors import MagrefError, ShapeError

CORNERS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [255, 255, 0]]], np.uint8
)
"""2 rows, 3 columns; every pixel is of another colour."""


def written(picture: Image.Image, **options) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, **{"format": "PNG", **options})
    file.seek(0)
    return file


def as_array(values: torch.Tensor) -> np.ndarray:
    assert values.dtype == torch.uint8
    return values.numpy()


def png_header(*, height: int, width: int) -> io.BytesIO:
    """A PNG that says how large it is and holds nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return io.BytesIO(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


def test_an_rgb_picture_comes_back_as_it_was():
    image, alpha = read_picture(written(Image.fromarray(CORNERS)), label="corners.png")
    assert np.array_equal(as_array(image), CORNERS)
    assert alpha is None


def test_a_picture_is_read_from_a_path_as_from_an_open_file(tmp_path):
    (tmp_path / "corners.png").write_bytes(written(Image.fromarray(CORNERS)).getvalue())
    image, _ = read_picture(tmp_path / "corners.png", label="corners.png")
    assert np.array_equal(as_array(image), CORNERS)


ORIENTATIONS = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""What a camera stores for each EXIF orientation, from the text of the standard."""


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_a_picture_is_turned_upright_by_its_exif_orientation(orientation, image_format):
    stored = Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](CORNERS)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, _ = read_picture(written(stored, format=image_format, exif=exif), label="x")
    assert np.array_equal(as_array(image), CORNERS)


def test_the_alpha_of_an_rgba_picture_is_kept_and_its_hidden_colours_too():
    rgba = np.dstack([CORNERS, np.array([[0, 1, 127], [128, 254, 255]], np.uint8)])
    image, alpha = read_picture(written(Image.fromarray(rgba)), label="x")
    assert np.array_equal(as_array(image), rgba[..., :3])
    assert np.array_equal(as_array(alpha), rgba[..., 3])


def test_an_alpha_that_is_opaque_everywhere_is_none():
    rgba = Image.fromarray(CORNERS).convert("RGBA")
    assert read_picture(written(rgba), label="x")[1] is None


def test_grey_with_alpha_becomes_rgb_with_alpha():
    values = np.array([[[10, 0], [200, 255]]], np.uint8)
    image, alpha = read_picture(written(Image.fromarray(values)), label="x")
    assert as_array(image).tolist() == [[[10] * 3, [200] * 3]]
    assert as_array(alpha).tolist() == [[0, 255]]


def test_the_transparent_colour_of_a_palette_becomes_alpha():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    image, alpha = read_picture(written(palette, transparency=0), label="x")
    assert as_array(image)[0, 1].tolist() == [0, 0, 255]
    assert as_array(alpha).tolist() == [[0, 255]]


def test_16_bit_grey_is_scaled_and_not_clipped():
    values = np.array([[0, 257, 32896, 65535, 300]], np.uint16)
    image, alpha = read_picture(written(Image.fromarray(values)), label="x")
    assert as_array(image)[..., 0].tolist() == [[0, 1, 128, 255, 1]]
    assert alpha is None


def test_a_cmyk_picture_keeps_its_colours():
    red = Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK")
    image, _ = read_picture(written(red, format="JPEG", quality=95), label="x")
    assert np.abs(as_array(image).astype(int) - (250, 10, 10)).max() <= 6


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    file = written(frames[0], format="GIF", save_all=True, append_images=frames[1:], loop=0)
    image, _ = read_picture(file, label="x.gif")
    assert as_array(image).reshape(-1, 3).tolist() == [[255, 0, 0]] * 16


def test_an_empty_file_is_refused():
    with pytest.raises(MagrefError, match=r"'holiday.jpg' is empty \(0 bytes\): choose or export it again"):
        read_picture(io.BytesIO(), label="holiday.jpg")


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_truncated_picture_is_refused_and_never_shown_in_part(image_format):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    content = written(Image.fromarray(noise), format=image_format).getvalue()
    with pytest.raises(
        MagrefError, match=r"'x' cannot be read \(.*\): open it in an image viewer and save it"
    ):
        read_picture(io.BytesIO(content[: len(content) // 2]), label="x")


def test_a_file_that_is_no_picture_is_refused_without_showing_where_it_lies(tmp_path):
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(MagrefError, match=r"'notes.png' cannot be read .its format is unknown.") as caught:
        read_picture(tmp_path / "notes.png", label="notes.png")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "head", "sentence"),
    [
        (
            "photo.heic",
            b"\x00\x00\x00\x24ftypheic\x00\x00\x00\x00mif1heic",
            "a HEIC photo, .*: save it as PNG or JPEG",
        ),
        (
            "photo.jpg",
            b"\x00\x00\x00\x24ftypmif1\x00\x00\x00\x00mif1heic",
            "a HEIC photo, .*: save it as PNG or JPEG",
        ),
        ("logo.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', r"a drawing \(SVG\), .*: save it as PNG"),
        ("logo.png", b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg/>', r"a drawing \(SVG\), .*: save it as PNG"),
    ],
)
def test_a_telephones_photo_and_a_drawing_are_called_by_their_names(tmp_path, name, head, sentence):
    (tmp_path / name).write_bytes(head + bytes(100))
    with pytest.raises(MagrefError, match=f"'{name}' is {sentence}"):
        read_picture(tmp_path / name, label=name)


def test_a_file_that_cannot_be_opened_is_refused_without_showing_where_it_lies(tmp_path):
    (tmp_path / "cast.png").mkdir()
    with pytest.raises(MagrefError, match=r"'cast.png' cannot be read \([A-Z][\w ]+\): open it") as caught:
        read_picture(tmp_path / "cast.png", label="cast.png")
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MagrefError, match=r"there is no picture 'alice.png': choose one that exists"):
        read_picture(tmp_path / "alice.png", label="alice.png")


def test_a_picture_with_a_side_over_the_limit_is_refused_before_it_is_decoded():
    with pytest.raises(MagrefError, match=r"'x' is 30000 x 10 pixels, .* longer than 16384: scale it down"):
        read_picture(png_header(height=10, width=30000), label="x")


def test_a_picture_with_far_too_many_pixels_is_refused_before_it_is_decoded():
    with pytest.raises(MagrefError, match=r"'x' has too many pixels .*: scale it down"):
        read_picture(png_header(height=30000, width=30000), label="x")


def test_a_drawing_is_not_handed_to_an_interpreter():
    file = written(Image.fromarray(CORNERS), format="EPS")
    with pytest.raises(MagrefError, match=r"'x.eps' is a drawing \(EPS\), not a picture: save it as PNG"):
        read_picture(file, label="x.eps")


def test_floating_point_pictures_are_refused():
    file = written(Image.fromarray(np.ones((2, 2), np.float32)), format="TIFF")
    with pytest.raises(MagrefError, match=r"floating-point values, .*: save it with 8 or 16 bits"):
        read_picture(file, label="x")


def test_pictures_of_more_than_16_bits_are_refused():
    file = written(Image.fromarray(np.full((2, 2), 70000, np.int32)), format="TIFF")
    with pytest.raises(MagrefError, match="more than 16 bits per channel: save it with 8 or 16 bits"):
        read_picture(file, label="x")


def test_damaged_bytes_are_refused_in_our_words_or_read():
    """Whatever Pillow raises on damaged bytes, a user sees a sentence."""
    generator = np.random.default_rng(1)
    noise = Image.fromarray(generator.integers(0, 255, (16, 16, 3), np.uint8))
    refused: list[str] = []
    for image_format in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        content = written(noise, format=image_format).getvalue()
        for _ in range(50):
            damaged = bytearray(content)
            damaged[generator.integers(len(damaged))] = generator.integers(256)
            try:
                read_picture(io.BytesIO(damaged), label="x")
            except MagrefError as error:
                refused.append(str(error))
    assert 20 < len(refused) < 300, "some damage is fatal, some is not"
    assert all("'x'" in sentence and ": " in sentence for sentence in refused)


def test_names_that_differ_are_accepted():
    check_names(["alice", "Bob", "red car", "Zoë", "小猫"])


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "there is no reference: add at least one picture"),
        (["alice", ""], "empty name: give every picture a name"),
        (["  "], "empty name"),
        (["a/b"], "'a/b' holds a slash, a backslash or a control character: use letters"),
        (["a\\b"], "holds a slash"),
        (["a\nb"], "control character"),
        (["cup, red"], "'cup, red' holds a comma, but commas stand between names .*: leave it out"),
        ([" alice"], "' alice' starts or ends with a space, but must .*: remove the space"),
        (["alice\u3000"], "control character"),
        (["bob "], "'bob ' starts or ends with a space"),
        (["x" * 65], "has 65 characters, but at most 64 are allowed: shorten it"),
        (["alice", "bob", "alice"], "two references are named 'alice' and 'alice', .*: rename one of them"),
        (["Alice", "aLICE"], "two references are named 'Alice' and 'aLICE'"),
    ],
)
def test_names_that_cannot_be_used_are_refused(names, sentence):
    with pytest.raises(MagrefError, match=sentence):
        check_names(names)


def picture(height: int = 4, width: int = 6) -> torch.Tensor:
    return torch.zeros(height, width, 3, dtype=torch.uint8)


def test_a_reference_is_an_object_and_whole_unless_said_otherwise():
    reference = Reference(name="cup", image=picture())
    assert (reference.kind, reference.alpha, reference.height, reference.width) == ("object", None, 4, 6)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(MagrefError, match=r"'cup' is of the kind 'thing', .* person, object, background"):
        Reference(name="cup", kind="thing", image=picture())  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [picture().float(), picture()[..., :2], picture()[None], picture(0, 3)])
def test_an_image_of_another_shape_or_type_is_refused(image):
    with pytest.raises(ShapeError, match="the image of 'cup'"):
        Reference(name="cup", image=image)


def test_an_alpha_of_another_size_is_refused():
    alpha = torch.ones(6, 4, dtype=torch.uint8)
    with pytest.raises(ShapeError, match=r"alpha of 'cup' is \(6, 4\) .*\(4, 6\) .* is needed"):
        Reference(name="cup", image=picture(), alpha=alpha)


def test_a_picture_that_is_transparent_everywhere_is_refused():
    alpha = torch.zeros(4, 6, dtype=torch.uint8)
    with pytest.raises(
        MagrefError, match=r"'cup' is transparent everywhere, .*: choose another picture or mask"
    ):
        Reference(name="cup", image=picture(), alpha=alpha)


@pytest.mark.parametrize("subject", ["", "a/b", "x" * 65])
def test_the_name_of_a_shared_subject_follows_the_rules_of_names(subject):
    with pytest.raises(MagrefError, match="name"):
        Reference(name="cup", image=picture(), subject=subject)
