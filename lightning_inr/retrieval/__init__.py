"""Retrieval of frames and videos by frame embeddings from `.linr` files, without rendering frames."""
