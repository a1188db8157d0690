"""Sentences for the user that are no errors: in the log, and on the node itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from comfy_execution.utils import get_executing_context
from server import PromptServer

logger = logging.getLogger(__name__)


def log_warnings(sentences: Sequence[str]) -> None:
    """Log each sentence, where the page shows them in a way of its own."""
    for sentence in sentences:
        logger.warning(sentence)


def show_notices(sentences: Sequence[str], hidden: Any, *, facts: Sequence[str] = ()) -> None:
    """Log each sentence, and write them on the node that runs.

    Args:
        sentences: warnings; may be none.
        hidden: the node's hidden inputs, which say who it is; None outside a prompt.
        facts: what is worth knowing and no warning; they come first.
    """
    for fact in facts:
        logger.info(fact)
    log_warnings(sentences)
    page = getattr(PromptServer, "instance", None)
    if (facts or sentences) and page is not None and hidden is not None:
        page.send_progress_text("\n\n".join([*facts, *sentences]), hidden.unique_id)


def show_on_running_node(sentence: str) -> None:
    """Write a sentence on the node that runs.

    The node need not ask the host who it is, which would give each node a cache of its own.
    """
    page = getattr(PromptServer, "instance", None)
    context = get_executing_context()
    if page is not None and context is not None:
        page.send_progress_text(sentence, context.node_id)
