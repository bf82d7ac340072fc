"""Chat with a video language model about a video, whose latents give the visual tokens."""
