"""Measures of generated clips against what was asked for; whoever draws the truth hands it in."""
