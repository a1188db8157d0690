"""From real photographs to an mp4, through a real ComfyUI.

python scripts/demo.py
    installs ComfyUI where it is missing, makes tiny random models (no GPU and no download of weights; the
    video shows noise, the canvas is real), runs the multi-subject workflow and stops the server again

python scripts/demo.py --server http://127.0.0.1:8188 --image woman=ann.jpg --image cat=tom.png
    does the same on your own running ComfyUI, with the models that the workflow names
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
from scripts.host_install import HostError
from scripts.host_server import PACK_NAME, Server

WORKFLOW = ROOT / "workflows" / "api" / "magref_multi_subject.json"
PICTURES = ROOT / "workflows" / "pictures"
UPLOADS = "magref_demo"
"""The folder below the server's input for our uploads, so that they overwrite nobody else's pictures."""
TINY_SIZES = {"width": 240, "height": 144, "length": 17, "steps": 4}
"""Enough to see every step run on a CPU in a few seconds."""
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
    parser.add_argument("--workflow", metavar="FILE", type=Path, default=WORKFLOW, help="API format")
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
        "--models", metavar="DIR", type=Path, help="a `models` folder instead of tiny random models"
    )
    parser.add_argument("--gpu", action="store_true", help="let our own server use the GPU")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out"), help="where the results go")
    return parser.parse_args()


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
    """Whether a saving node is fed by the canvas node."""
    link = workflow[node_id]["inputs"].get("images")
    return isinstance(link, list) and workflow[link[0]]["class_type"] == "MagrefBuildMaskedCanvas"


def own_server(arguments: argparse.Namespace, base: Path) -> Server:
    """A server of our own with the given models, or with tiny random ones in its base folder."""
    found = host.install()
    if arguments.models is None:
        print("making tiny random models", flush=True)
        command = [found.python, ROOT / "scripts" / "tiny_models.py", base / "models"]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise HostError("the tiny models could not be made; the lines above say why")
    elif not arguments.models.is_dir():
        raise HostError(
            f"there is no folder {arguments.models}: give a folder laid out like ComfyUI's models"
        )
    packs = {PACK_NAME: ROOT, "tiny_loaders": ROOT / "scripts" / "tiny_loaders"}
    return Server(found, base=base, models=arguments.models, packs=packs, cpu=not arguments.gpu)


def main() -> None:
    """Run the demo."""
    arguments = read_arguments()
    host.end_cleanly_on_terminate()
    workflow = workflow_edit.load_workflow(arguments.workflow)
    is_tiny = arguments.server is None and arguments.models is None
    if is_tiny:
        workflow_edit.set_where_present(workflow, TINY_SIZES)
    sizes = {name: getattr(arguments, name) for name in (*TINY_SIZES, "seed")}
    workflow_edit.set_everywhere(workflow, {name: size for name, size in sizes.items() if size is not None})
    for assignment in arguments.set:
        workflow_edit.set_input(workflow, assignment)
    chosen = chosen_pictures(workflow, arguments.image)
    if arguments.server is not None:
        client = ComfyClient(arguments.server)
        check_server(client, workflow, may_replace_models=False)
        upload_pictures(client, workflow, chosen)
        saved = run_workflow(client, workflow, arguments.out)
    else:
        base = Path(tempfile.mkdtemp(prefix="magref-demo-"))
        try:
            server = own_server(arguments, base)
            print("starting ComfyUI", flush=True)
            with server:
                client = server.client()
                check_server(client, workflow, may_replace_models=True)
                upload_pictures(client, workflow, chosen)
                saved = run_workflow(client, workflow, arguments.out)
        finally:
            shutil.rmtree(base, ignore_errors=True)
    for file in saved:
        print(f"saved {file.resolve()}")


if __name__ == "__main__":
    try:
        main()
    except (HostError, ComfyError) as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("cancelled") from None
