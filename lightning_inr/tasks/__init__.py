"""One verb per file, each with `run(cfg)`: what the user wished for, as a recipe."""
