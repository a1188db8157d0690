"""A person, an animal and the place where they are, each from a picture; subjects are cut out."""

from __future__ import annotations

from scripts.workflow_specs import parts
from scripts.workflow_specs.files import CAT, TABLE, WOMAN
from scripts.workflow_specs.spec import Workflow

PROMPT = (
    "A young woman in an orange space suit sits at a wooden table with a cup of coffee on it. A ginger "
    "tabby cat sits beside her; she strokes the cat and lifts the cup to her lips. Warm morning light, the "
    "camera slowly moves closer."
)
HINT = (
    "Say what each subject looks like and does, in the words that a viewer would use (the woman, the cat), "
    "then the place, the light and the camera."
)

WORKFLOW = Workflow(
    name="magref_multi_subject",
    groups=(
        parts.models(parts.own_loader(), parts.OWN_LOADER_HINT),
        parts.cut_out_references(WOMAN, CAT, TABLE),
        parts.canvas("cut out"),
        parts.prompt(PROMPT, HINT),
        parts.official_sampling(("dit", "model")),
        parts.video(("sampler", "latent")),
    ),
)
