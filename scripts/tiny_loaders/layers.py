"""What a file of weights tells of its network."""

from __future__ import annotations


def layer_count(weights, prefix, suffix=".layer_norm1.weight"):
    """How many numbered layers follow each other from 0."""
    count = 0
    while f"{prefix}{count}{suffix}" in weights:
        count += 1
    return count
