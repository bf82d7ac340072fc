"""The hall: a video on disk becomes batches of frames, read as they are needed."""
