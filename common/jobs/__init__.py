"""Work over many items that may be killed, repeated and shared: items, locks, worker processes."""
