"""The former name of `common.video.frame_files`, for callers that have not moved yet."""

from common.video.frame_files import *  # noqa: F403
