"""What a network makes of a data set: by which protocol, with which scores, as which numbers."""
