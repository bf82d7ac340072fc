"""The workshop: one model is fitted to one video."""
