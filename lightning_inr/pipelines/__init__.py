"""What each task does, from typed options to typed results; no configuration is read here."""
