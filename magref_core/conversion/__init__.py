"""Turning a DiT's weights into shorter formats: what is shortened, how, into which file, at what loss."""
