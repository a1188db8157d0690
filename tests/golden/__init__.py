"""Compares this repository with numbers that the official MAGREF code produced."""
