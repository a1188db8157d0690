"""Measurements of speed and memory; each prints a table and leaves a dated report in `reports/`."""
