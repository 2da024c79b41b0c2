"""Features of videos: rows of numbers, each with its place in time."""
