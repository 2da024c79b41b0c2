"""Everything that is not a framework op; imports neither TensorFlow nor torch."""

import os

# An image may state any size; OpenCV reads this limit when it is first imported.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))
