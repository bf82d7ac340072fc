"""Data sets of captioned videos."""
