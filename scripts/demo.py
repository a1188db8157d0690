"""From pictures to an mp4, through a real ComfyUI.

python scripts/demo.py
    installs ComfyUI where it is missing and lets two drawn puppets act, with the small trained model that
    comes with this pack: no GPU, no download of weights, seconds for the video

python scripts/demo.py --image fox=workflows/pictures/puppet_fox_2.png
    the same with another fox

python scripts/demo.py --photographs
    three photographs in the multi-subject workflow, with tiny random models: the canvas is real, the video
    shows noise

python scripts/demo.py --server http://127.0.0.1:8188 --image woman=ann.jpg --image cat=tom.png
    the photographs' workflow on your own running ComfyUI, with the models that the workflow names
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT, host, workflow_edit
from scripts.comfy_client import ComfyClient, ComfyError, OutputFile, Progress, Workflow, output_files
from scripts.demo_files import check_demo_files
from scripts.host_install import HostError
from scripts.host_server import PACK_NAME, Server

PUPPETS = ROOT / "workflows" / "api" / "magref_demo.json"
PHOTOGRAPHS = ROOT / "workflows" / "api" / "magref_multi_subject.json"
PICTURES = ROOT / "workflows" / "pictures"
UPLOADS = "magref_demo"
"""The folder below the server's input for our uploads, so that they overwrite nobody else's pictures."""
TINY_SIZES = {"width": 240, "height": 144, "length": 17, "steps": 4}
"""Enough to see every step run on a CPU in a few seconds, with tiny random models."""
VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov")


class ProgressLine:
    """Shows the running node: one line that changes on a terminal, one line per step elsewhere."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.shown: tuple[str, float] | None = None

    def __call__(self, progress: Progress) -> None:
        state = (progress.node_id, progress.value if progress.maximum > 1 else 0)
        if state == self.shown:
            return
        self.shown = state
        text = progress.label
        if progress.maximum > 1:
            filled = round(20 * progress.value / progress.maximum)
            bar = "#" * filled + "." * (20 - filled)
            text += f"  [{bar}] {progress.value:g}/{progress.maximum:g}"
        print(f"\r\x1b[K  {text}" if self.is_terminal else f"  {text}", end="", flush=True)
        if not self.is_terminal:
            print(flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self.is_terminal and self.shown:
            print("\r\x1b[K", end="", flush=True)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", metavar="URL", help="use this running ComfyUI and its models")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--photographs", action="store_true", help="photographs in place of the puppets")
    choice.add_argument("--workflow", metavar="FILE", type=Path, help="another workflow, in API format")
    parser.add_argument(
        "--image",
        metavar="NAME=PATH",
        action="append",
        default=[],
        help="the picture of one reference of the workflow",
    )
    parser.add_argument(
        "--set",
        metavar="NODE.INPUT=VALUE",
        action="append",
        default=[],
        help='any value: --set "Prompt.text=A dog"',
    )
    for name in (*TINY_SIZES, "seed"):
        parser.add_argument(f"--{name}", type=int, metavar="N")
    parser.add_argument(
        "--models", metavar="DIR", type=Path, help="a `models` folder of your own, for the photographs"
    )
    parser.add_argument("--gpu", action="store_true", help="let our own server use the GPU")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out"), help="where the results go")
    return parser.parse_args()


def chosen_workflow(arguments: argparse.Namespace) -> Path:
    """As given; else the puppets, or the photographs where there are models for them."""
    if arguments.workflow is not None:
        return arguments.workflow
    has_models = arguments.server is not None or arguments.models is not None
    return PHOTOGRAPHS if arguments.photographs or has_models else PUPPETS


def chosen_pictures(workflow: Workflow, assignments: list[str]) -> dict[str, Path]:
    """Picture name -> file: as given, else the example picture of the same file name.

    Raises:
        ComfyError: an assignment cannot be read, or names no picture of the workflow or no file.
    """
    known = workflow_edit.pictures(workflow)
    chosen = {
        picture.name: PICTURES / picture.file for picture in known if (PICTURES / picture.file).is_file()
    }
    for assignment in assignments:
        name, equals, path = assignment.partition("=")
        if not equals:
            raise ComfyError(f"--image {assignment} cannot be read: write NAME=PATH such as cat=tom.png")
        workflow_edit.find_picture(workflow, name)
        if not Path(path).is_file():
            raise ComfyError(f"there is no picture {path}: give the path of an image file for '{name}'")
        chosen[name] = Path(path)
    return chosen


def upload_pictures(client: ComfyClient, workflow: Workflow, chosen: dict[str, Path]) -> None:
    """Send the pictures and let the workflow read them."""
    for index, (name, file) in enumerate(chosen.items(), start=1):
        safe = re.sub(r"[^\w-]+", "_", name)  # may make two names alike, hence the number
        stored = client.upload_image(file, name=f"{safe}_{index}{file.suffix.lower()}", subfolder=UPLOADS)
        workflow_edit.set_picture(workflow, workflow_edit.find_picture(workflow, name), stored)


def check_server(client: ComfyClient, workflow: Workflow, *, may_replace_models: bool) -> None:
    """Raise a sentence where the server lacks nodes or model files; fit the files of a tiny set."""
    object_info = client.object_info()
    if missing := workflow_edit.missing_nodes(workflow, object_info):
        raise ComfyError(
            f"the ComfyUI at {client.url} lacks the nodes {', '.join(missing)}: install {PACK_NAME} and "
            "whatever else the workflow uses into its custom_nodes and restart it"
        )
    if may_replace_models:
        for model in workflow_edit.fit_models(workflow, object_info):
            print(f"  {model.choices[0]} stands in for {model.file}")
    elif lacking := workflow_edit.missing_models(workflow, object_info):
        raise ComfyError(workflow_edit.describe_missing(lacking))


def run_workflow(client: ComfyClient, workflow: Workflow, out: Path) -> list[Path]:
    """Queue, show progress, fetch the results; cancels the run on Ctrl-C."""
    started = time.monotonic()
    line, queued = ProgressLine(), []
    print("running the workflow", flush=True)
    try:
        history = client.run(workflow, on_progress=line, on_queued=queued.append)
    except (KeyboardInterrupt, SystemExit):
        for prompt_id in queued:
            client.cancel(prompt_id)
        raise
    finally:
        line.end()
    print(f"  done in {time.monotonic() - started:.0f} s")
    return save_results(client, workflow, output_files(history), out)


def save_results(client: ComfyClient, workflow: Workflow, outputs: list[OutputFile], out: Path) -> list[Path]:
    """Fetch the files: the first video as demo, the canvas as canvas, others under their own names."""
    saved: list[Path] = []
    for output in outputs:
        suffix = Path(output.filename).suffix.lower()
        target = out / Path(output.filename).name
        if suffix in VIDEO_SUFFIXES and not any(path.stem == "demo" for path in saved):
            target = out / f"demo{suffix}"
        elif shows_canvas(workflow, output.node_id):
            target = out / f"canvas{suffix}"
        saved.append(client.download(output, target))
    return saved


def shows_canvas(workflow: Workflow, node_id: str) -> bool:
    """Whether a node is given the picture of the canvas, as it is or resized."""
    inputs = workflow[node_id]["inputs"]
    link = inputs.get("images", inputs.get("image"))
    if not isinstance(link, list):
        return False
    return workflow[link[0]]["class_type"] == "MagrefBuildMaskedCanvas" or shows_canvas(workflow, link[0])


def own_server(arguments: argparse.Namespace, base: Path, *, is_demo: bool) -> Server:
    """A server of our own with the given models, or in its base folder with tiny random ones.

    The demo model needs none of them: it comes with the pack.
    """
    found = host.install()
    packs = {PACK_NAME: ROOT}
    if not is_demo:
        packs["tiny_loaders"] = ROOT / "scripts" / "tiny_loaders"
    if arguments.models is not None and not arguments.models.is_dir():
        raise HostError(
            f"there is no folder {arguments.models}: give a folder laid out like ComfyUI's models"
        )
    if arguments.models is None and not is_demo:
        print("making tiny random models", flush=True)
        command = [found.python, ROOT / "scripts" / "tiny_models.py", base / "models"]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise HostError("the tiny models could not be made; the lines above say why")
    return Server(found, base=base, models=arguments.models, packs=packs, cpu=not arguments.gpu)


def change_values(workflow: Workflow, arguments: argparse.Namespace) -> None:
    """Apply all that the command line says of the workflow's values; tiny models get a tiny video."""
    has_models = arguments.server is not None or arguments.models is not None
    if not has_models and not workflow_edit.runs_demo_model(workflow):
        workflow_edit.set_where_present(workflow, TINY_SIZES)
    sizes = {name: getattr(arguments, name) for name in (*TINY_SIZES, "seed")}
    workflow_edit.set_everywhere(workflow, {name: size for name, size in sizes.items() if size is not None})
    for assignment in arguments.set:
        workflow_edit.set_input(workflow, assignment)


def run_on_own_server(
    arguments: argparse.Namespace, workflow: Workflow, chosen: dict[str, Path]
) -> list[Path]:
    """Start a server, run the workflow and stop the server again."""
    is_demo = workflow_edit.runs_demo_model(workflow)
    if is_demo:
        check_demo_files()
    base = Path(tempfile.mkdtemp(prefix="magref-demo-"))
    try:
        server = own_server(arguments, base, is_demo=is_demo)
        print("starting ComfyUI", flush=True)
        with server:
            client = server.client()
            check_server(client, workflow, may_replace_models=True)
            upload_pictures(client, workflow, chosen)
            return run_workflow(client, workflow, arguments.out)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def main() -> None:
    """Run the demo."""
    arguments = read_arguments()
    host.end_cleanly_on_terminate()
    workflow = workflow_edit.load_workflow(chosen_workflow(arguments))
    change_values(workflow, arguments)
    chosen = chosen_pictures(workflow, arguments.image)
    if arguments.server is not None:
        client = ComfyClient(arguments.server)
        check_server(client, workflow, may_replace_models=False)
        upload_pictures(client, workflow, chosen)
        saved = run_workflow(client, workflow, arguments.out)
    else:
        saved = run_on_own_server(arguments, workflow, chosen)
    for file in saved:
        print(f"saved {file.resolve()}")


if __name__ == "__main__":
    try:
        main()
    except (HostError, ComfyError) as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("cancelled") from None
