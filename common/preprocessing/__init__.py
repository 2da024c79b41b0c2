"""Pure functions on arrays: which frames, which part of them, how large, in which range."""
