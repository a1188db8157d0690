"""From your own clips and pictures to the samples that scripts/train.py learns from.

python scripts/encode_samples.py FOLDER --out SAMPLES --vae FILE --text-encoder FILE --clip-vision FILE

FOLDER holds one folder per sample, each with clip.mp4 (or .webm, .gif, frames/*.png, or picture.png for a
still), prompt.txt, references/*.png, and perhaps mask.mp4 or mask.png, white on the subjects. With --cross it
holds pictures of one subject, or a folder of pictures per subject, and prompt.txt: each picture is learnt
from the others. A second run encodes only what is new or has changed.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.host import enter_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from scripts.training.user_clips import ClipOptions
    from scripts.training.user_samples import CanvasOptions, UserEncoders

SETTINGS = "settings.json"
"""Beside the samples."""

# What needs torch is imported where it is used: at first this may run in a Python without it.


def read_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the samples go")
    for name, what in (
        ("vae", "Wan 2.1 VAE"),
        ("text-encoder", "UMT5-XXL, or the demo's"),
        ("clip-vision", "CLIP ViT-H, or the demo's"),
    ):
        parser.add_argument(f"--{name}", metavar="FILE", type=Path, required=True, help=what)
    parser.add_argument(
        "--cross", action="store_true", help="pictures of a subject, each learnt from the others"
    )
    parser.add_argument("--width", type=int, default=832, metavar="N", help="pixels, a multiple of 16 (832)")
    parser.add_argument("--height", type=int, default=480, metavar="N", help="pixels, a multiple of 16 (480)")
    parser.add_argument(
        "--length",
        type=int,
        default=81,
        metavar="N",
        help="frames with the canvas, a multiple of 4 plus 1 (81)",
    )
    parser.add_argument(
        "--fps", type=float, default=16.0, metavar="N", help="the model's frames per second (16)"
    )
    parser.add_argument("--variants", type=int, default=4, metavar="N", help="canvases per clip (4)")
    parser.add_argument(
        "--layout",
        choices=("official", "varied"),
        default="official",
        help="official: shuffled cells, as when generating; varied: other grids, sizes and places too",
    )
    parser.add_argument("--no-augment", action="store_true", help="leave the references as they are")
    parser.add_argument(
        "--draw-references",
        action="store_true",
        help="draw how many and which pictures stand on a canvas, so that their number tells nothing",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--cpu", action="store_true", help="do not use the GPU")
    return parser.parse_args(words)


def encode_folder(arguments: argparse.Namespace) -> int:
    """Encode what is not yet encoded; the host must have been entered.

    Returns:
        How many samples the folder has, all of them encoded now.

    Raises:
        MagrefError: something in the folder, an encoder or the disk is not as it should be.
    """
    from magref_core.training.dataset import write_shard
    from magref_core.training.files import save_text
    from scripts.training.user_clips import read_clip
    from scripts.training.user_data import find_materials
    from scripts.training.user_samples import make_samples

    options, canvases = read_options(arguments)
    materials = find_materials(arguments.folder, cross=arguments.cross)
    files = {material.name: arguments.out / f"{material.name}.safetensors" for material in materials}
    settings = read_settings(arguments, dataclasses.asdict(options) | dataclasses.asdict(canvases))
    check_settings(arguments.out, settings)
    note_strangers(arguments.out, set(files.values()))
    left = [material for material in materials if not is_newer(files[material.name], material.files)]
    encoders = load_encoders(arguments, [material.prompt for material in left]) if left else None
    save_text(arguments.out / SETTINGS, json.dumps(settings, indent=2) + "\n")
    started, done = time.monotonic(), len(materials) - len(left)
    for number, material in enumerate(left, start=1):
        assert encoders is not None
        clip = read_clip(material, options)
        if len(clip.frames) < options.length - 1 and material.kind != "picture":
            print(
                f"'{material.name}' has only {len(clip.frames)} frames: its samples are shorter", flush=True
            )
        write_shard(files[material.name], list(make_samples(material, clip, options, canvases, encoders)))
        minutes = (time.monotonic() - started) / number * (len(left) - number) / 60
        print(
            f"encoded {done + number} of {len(materials)}, {minutes:.0f} min left: {material.name}",
            flush=True,
        )
    return len(materials)


def read_options(arguments: argparse.Namespace) -> tuple[ClipOptions, CanvasOptions]:
    """What the command line says of clips and of canvases.

    Raises:
        MagrefError: a value is out of range.
    """
    from magref_core.training.augment import OFF, AugmentConfig
    from magref_core.training.masking import PAPER, LayoutConfig
    from scripts.training.user_clips import ClipOptions
    from scripts.training.user_samples import CanvasOptions

    options = ClipOptions(
        height=arguments.height, width=arguments.width, length=arguments.length, fps=arguments.fps
    )
    canvases = CanvasOptions(
        variants=arguments.variants,
        layout=PAPER if arguments.layout == "official" else LayoutConfig(),
        augment=OFF if arguments.no_augment else AugmentConfig(),
        drawn=arguments.draw_references,
        seed=arguments.seed,
    )
    return options, canvases


def load_encoders(arguments: argparse.Namespace, prompts: list[str]) -> UserEncoders:
    """Encode the prompts and the empty one, which is kept beside the samples, and load the other encoders.

    Raises:
        MagrefError: a file is no such encoder, or the disk is full.
    """
    from magref_core.training.files import save_tensors
    from scripts.training import host_encoders
    from scripts.training.user_runs import EMPTY_PROMPT
    from scripts.training.user_samples import UserEncoders

    print("loading the encoders", flush=True)
    texts = host_encoders.encode_prompts(arguments.text_encoder, ["", *sorted(set(prompts))])
    save_tensors(arguments.out / EMPTY_PROMPT, {"text": texts[""]}, {})
    image, image_size = host_encoders.load_image_encoder(arguments.clip_vision)
    video = host_encoders.load_video_encoder(arguments.vae)
    return UserEncoders(video=video, image=image, image_size=image_size, text=texts.__getitem__)


def read_settings(arguments: argparse.Namespace, options: dict[str, object]) -> dict[str, object]:
    """All that decides what samples are like, as JSON has it.

    Raises:
        TrainingError: the file of an encoder cannot be read.
    """
    encoders = {
        name: fingerprint(getattr(arguments, name)) for name in ("vae", "text_encoder", "clip_vision")
    }
    return json.loads(json.dumps(options | encoders))


def check_settings(folder: Path, wanted: dict[str, object]) -> None:
    """Refuse to put samples beside others of other settings.

    Raises:
        TrainingError: the folder holds samples of other settings or encoders.
    """
    from magref_core.training.files import TrainingError

    file = folder / SETTINGS
    if not file.is_file():
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        changed = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise TrainingError(f"{file} cannot be read ({error}): choose another folder") from error
    if changed:
        raise TrainingError(
            f"{folder} holds samples of other settings ({', '.join(changed)} differ): use the same, or "
            "choose another folder"
        )


def fingerprint(file: Path) -> str:
    """What tells a weight file from another without reading it whole: its size and its first and last MiB."""
    from magref_core.training.files import TrainingError

    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            digest = hashlib.sha256(stream.read(2**20))
            stream.seek(max(0, size - 2**20))
            digest.update(stream.read())
    except OSError as error:
        raise TrainingError(f"{file} cannot be read ({error.strerror}): give another file") from error
    return f"{size} {digest.hexdigest()[:16]}"


def is_newer(shard: Path, files: tuple[Path, ...]) -> bool:
    """Whether a shard was written after all that it was made from."""
    return shard.is_file() and all(file.stat().st_mtime <= shard.stat().st_mtime for file in files)


def note_strangers(folder: Path, known: set[Path]) -> None:
    """Tell of shards that belong to no sample any more."""
    strangers = sorted(file.name for file in folder.glob("*.safetensors") if file not in known)
    if strangers:
        print(f"{len(strangers)} files belong to no sample, such as {strangers[0]}; they are trained on too")


def main() -> None:
    """Encode a folder in ComfyUI's Python."""
    arguments = read_arguments()
    source = enter_host_python()
    from magref_core.errors import MagrefError
    from scripts.training.host_encoders import enter_host

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        enter_host(source, cpu=arguments.cpu)
        count = encode_folder(arguments)
    except MagrefError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; what is encoded is kept, and the next run goes on from there") from None
    print(f"{count} samples in {arguments.out.resolve()}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
