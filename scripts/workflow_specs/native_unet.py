"""The weights through ComfyUI's own loader: MAGREF's canvas and guidance on the native Wan model."""

from __future__ import annotations

from scripts.workflow_specs import parts
from scripts.workflow_specs.files import CAT, CUP
from scripts.workflow_specs.spec import Workflow

PROMPT = (
    "A ginger tabby cat sits on a window sill beside a cup of coffee. It sniffs at the rising steam, blinks "
    "and turns its head to the window. Rain runs down the glass, cosy lamp light, the camera stays still."
)
HINT = (
    "Say what each subject looks like and does (the cat, the cup), then the place, the light and the camera."
)

WORKFLOW = Workflow(
    name="magref_native_unet",
    groups=(
        parts.models(parts.native_loader(), parts.NATIVE_LOADER_HINT),
        parts.plain_references(CAT, CUP),
        parts.canvas("references"),
        parts.prompt(PROMPT, HINT),
        parts.official_sampling(("dit", "MODEL")),
        parts.video(("sampler", "latent")),
    ),
)
