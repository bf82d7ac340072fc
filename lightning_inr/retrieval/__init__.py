"""Finding frames, moments and videos by what their latents mean; only `.linr` files are read."""
