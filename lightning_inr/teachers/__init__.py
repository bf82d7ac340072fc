"""Models that others trained: asked once what they see in a video, before it is fitted."""
