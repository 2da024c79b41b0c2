"""Proof that the twins compute the same numbers; the only tests that import both backends."""
