"""Videos and datasets on disk, and the batches of frames that are read from them."""
