"""Turns raw videos into what training reads: runs that may be stopped, repeated and shared."""
