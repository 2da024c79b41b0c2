"""Classes of one video or sample."""
