"""A data set that only motion can tell apart, and training on it from videos to a table."""
