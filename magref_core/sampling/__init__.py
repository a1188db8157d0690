"""From noise to latents: the noise levels, the solvers, and how answers are combined."""
