"""Data sets of single videos."""
