"""What people look at: pictures and tables made from a finished run."""
