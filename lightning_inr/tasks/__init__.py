"""One task per file, each with `run(cfg)`: the configuration becomes typed options of one pipeline."""
