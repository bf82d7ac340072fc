"""Pretrained teachers, which encode the frames of a video once before it is fitted: CLIP and video language models."""
