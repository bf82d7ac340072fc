"""Readers of videos: compressed files, raw files, folders of images."""
