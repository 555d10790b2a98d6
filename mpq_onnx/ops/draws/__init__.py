"""Where the normals of a noisy operator come from, one way a file and a line in registries.NOISE_DRAWS."""
