"""Fitting one model to one video: Lightning modules, callbacks, optimisers and training of the `shapes` teachers."""
