"""One person in a new place: the shortest way through all steps."""

from __future__ import annotations

from scripts.workflow_specs import parts
from scripts.workflow_specs.files import WOMAN
from scripts.workflow_specs.spec import Workflow

PROMPT = (
    "A young woman with short brown hair in an orange space suit walks along a beach at sunset. She turns "
    "to the camera, smiles and waves; the wind moves her hair, waves roll in behind her. Warm light, the "
    "camera follows her slowly."
)
HINT = "Say what the subject looks like and does, then the place, the light and the camera."

WORKFLOW = Workflow(
    name="magref_single_subject",
    groups=(
        parts.models(parts.own_loader(), parts.OWN_LOADER_HINT),
        parts.plain_references(WOMAN),
        parts.canvas("references"),
        parts.prompt(PROMPT, HINT),
        parts.official_sampling(("dit", "model")),
        parts.video(("sampler", "latent")),
    ),
)
