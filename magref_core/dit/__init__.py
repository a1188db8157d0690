"""The DiT, small to large, and its files."""
