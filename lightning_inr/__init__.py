"""Videos as neural networks: fit one, write one `.linr` file, decode it anywhere."""

__version__ = "0.1.0"
