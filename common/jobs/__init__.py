"""Work over many items that may be killed, repeated and shared: what to make, claims, workers."""
