import numpy as np
import pytest

from common import memory

CLIPS = np.zeros((4, 64, 32, 24, 3), np.uint8)


def test_memory_that_runs_out_is_explained():
    text = r"^out of memory with 4 clips of 64 x 32 x 24 \(.*\) at a time\. Raise .*=bfloat16\.$"
    reason = MemoryError("no\nmore")
    explained = memory.explained(MemoryError, CLIPS, memory.TRAINING)
    with pytest.raises(ValueError, match=text) as found, explained:
        raise reason
    assert found.value.__cause__ is reason


def test_another_error_stays_as_it_is():
    with pytest.raises(KeyError), memory.explained(MemoryError, CLIPS, memory.INFERENCE):
        raise KeyError
