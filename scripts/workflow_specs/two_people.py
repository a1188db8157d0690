"""Two people who are called by their names in the prompt, with the released model."""

from __future__ import annotations

from scripts.workflow_specs import parts
from scripts.workflow_specs.files import ROBOT, WOMAN
from scripts.workflow_specs.spec import Workflow

PROMPT = (
    "@woman in an orange space suit walks up to the @robot in a bright hangar. The @robot raises an arm and "
    "waves, the @woman laughs and shakes its hand. Soft daylight, the camera slowly circles them."
)
HINT = (
    "**@name** stands for a reference and becomes its word. The line under the prompt says who is named; "
    "after a run the node shows which tokens were found. Call a reference what you like (*ann*) and give it "
    "the **word** that the prompt should read (*woman*)."
)

WORKFLOW = Workflow(
    name="magref_two_people",
    groups=(
        parts.models(parts.own_loader(), parts.OWN_LOADER_HINT),
        parts.cut_out_references(WOMAN, ROBOT),
        parts.canvas("cut out"),
        parts.prompt(PROMPT, HINT, bound_to="cut out"),
        parts.official_sampling(("dit", "model")),
        parts.video(("sampler", "latent")),
    ),
)
