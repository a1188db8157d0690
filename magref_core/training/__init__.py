"""Training: rectified flow on masked guidance, and the small encoders and VAE of the demo model."""
