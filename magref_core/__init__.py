"""MAGREF in pure torch: pictures, canvas, conditioning, DiT, sampling and decoding, without a host."""
