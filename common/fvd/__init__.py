"""Fréchet Video Distance: recipes, statistics of sets of clips, and the distance between them."""
