"""Talking with a video through its latents."""
