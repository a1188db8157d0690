"""The shipped workflows, one source for each; `scripts/build_workflows.py` makes the files from them."""

from __future__ import annotations

from scripts.workflow_specs import (
    best_of,
    demo,
    multi_subject,
    native_masks,
    native_sampler,
    native_unet,
    person_object_place,
    single_subject,
    three_people,
    two_people,
)
from scripts.workflow_specs.spec import Workflow

WORKFLOWS: tuple[Workflow, ...] = (
    single_subject.WORKFLOW,
    multi_subject.WORKFLOW,
    two_people.WORKFLOW,
    native_masks.WORKFLOW,
    native_sampler.WORKFLOW,
    native_unet.WORKFLOW,
    demo.WORKFLOW,
    three_people.WORKFLOW,
    person_object_place.WORKFLOW,
    best_of.WORKFLOW,
)
