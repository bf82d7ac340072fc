"""Several fits of like models in one program: every parameter has a first axis of videos."""
