"""Training of the small teachers on `shapes`."""
