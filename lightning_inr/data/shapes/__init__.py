"""`shapes`: a synthetic captioned data set."""
