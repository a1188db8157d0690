"""The workflow that the tests of this tier change and run."""

from __future__ import annotations

import pytest

from scripts import demo, workflow_edit
from scripts.comfy_client import ComfyClient, Workflow


@pytest.fixture
def workflow(client: ComfyClient) -> Workflow:
    """The multi-subject workflow in the sizes of `demo.py --photographs`, on the tiny models."""
    found = workflow_edit.load_workflow(demo.PHOTOGRAPHS)
    workflow_edit.set_where_present(found, demo.TINY_SIZES)
    workflow_edit.fit_models(found, client.object_info())
    return found
