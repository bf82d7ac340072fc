"""Video-LLaMA."""
