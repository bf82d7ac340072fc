"""Video language models, and those of transformers."""
