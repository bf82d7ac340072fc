"""Small video language models with random weights, for tests."""
