"""Helpers of tests; no wheel carries them."""
