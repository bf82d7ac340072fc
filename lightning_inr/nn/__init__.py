"""Building blocks that know nothing of any paper's whole model."""
