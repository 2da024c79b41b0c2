"""Training: what both frameworks share, from examples to snapshots."""
