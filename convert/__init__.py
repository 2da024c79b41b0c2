"""Moves checkpoints between formats and dialects; imports neither TensorFlow nor torch."""
