"""Everything that is not a framework op; imports neither TensorFlow nor torch."""
