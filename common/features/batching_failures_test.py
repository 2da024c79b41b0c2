"""Batches of threads that fail or end, of networks that fail, of too many clips; and their end."""

import threading
import time

import numpy as np
import pytest

from common.features.batching import Batcher
from common.testing.producers import PATIENCE, Network, clips, in_threads, producer, until


@pytest.mark.parametrize("submits", [0, 1])
def test_a_producer_that_fails_is_gone(submits):
    network, ready = Network(), threading.Barrier(2)

    def fails():
        with pytest.raises(ZeroDivisionError), batcher.producing():
            ready.wait(PATIENCE)
            for clip in clips(submits, 50):
                batcher.submit(clip)
            1 / 0  # noqa: B018

    with Batcher(network, 4) as batcher:
        results, _ = in_threads(batcher, producer(batcher, clips(2), ready), fails)
    assert [result[0] for result in results] == [3, 6]


def test_a_producer_that_ends_is_gone():
    network, entered, waiting = Network(), threading.Event(), threading.Event()

    def stays():
        with batcher.producing():
            entered.set()
            waiting.wait(PATIENCE)

    def waits():
        entered.wait(PATIENCE)
        with batcher.producing():
            future = batcher.submit(np.ones(3, np.float32))
            waiting.set()
            return batcher.wait(future)

    with Batcher(network, 4) as batcher:
        _, result = in_threads(batcher, stays, waits)
    assert result.tolist() == [3, 3]


@pytest.mark.parametrize("error", [ValueError, MemoryError, SystemExit])
def test_an_error_is_of_those_in_its_batch(error):
    def compute(batch):
        if 3 in batch:
            raise error("of this batch")
        return Network.of(batch)

    def produce():
        found = []
        with batcher.producing():
            for future in [batcher.submit(clip) for clip in clips(6)]:
                try:
                    found.append(batcher.wait(future)[0])
                except error as raised:
                    found.append(str(raised))
        return found

    with Batcher(compute, 2) as batcher:
        (found,) = in_threads(batcher, produce)
    assert found == [3, 6, "of this batch", "of this batch", 15, 18]


def test_results_of_another_number_are_an_error():
    with Batcher(lambda batch: batch[:2], 3) as batcher:
        future = batcher.submit(np.ones(3))
        with pytest.raises(ValueError, match="2 results for a batch of 3 clips"):
            batcher.wait(future)


def test_a_batch_has_a_clip():
    with pytest.raises(ValueError, match=r"at least 1 clip\. Received: 0"):
        Batcher(Network(), 0)


def test_submitting_waits_while_two_batches_do():
    go, submitted = threading.Event(), []

    def compute(batch):
        go.wait(PATIENCE)
        return Network.of(batch)

    def produce():
        with batcher.producing():
            for clip in clips(30):
                submitted.append(batcher.submit(clip))
        return [batcher.wait(future)[0] for future in submitted]

    def look():
        until(lambda: len(submitted) == 9)
        time.sleep(0.05)
        assert len(submitted) == 9  # three are computed, six wait
        go.set()

    with Batcher(compute, 3) as batcher:
        results, _ = in_threads(batcher, produce, look)
    assert results == [3 * k for k in range(1, 31)]


def test_closing_gives_up_what_waits():
    """One that waits for a result, one that waits for room, and whoever comes later."""
    computing, go = threading.Event(), threading.Event()

    def compute(batch):
        computing.set()
        go.wait(PATIENCE)
        return Network.of(batch)

    batcher = Batcher(compute, 1)
    batcher.close()  # of one that does nothing
    batcher.close()
    batcher = Batcher(compute, 1)
    first, computed = batcher.submit(np.ones(3)), computing.wait(PATIENCE)
    assert computed
    waiting = [batcher.submit(np.ones(3)) for _ in range(2)]

    def submits():
        with pytest.raises(RuntimeError, match="the batcher was closed"), batcher.producing():
            batcher.submit(np.ones(3))

    def waits():
        with pytest.raises(RuntimeError, match="the batcher was closed"), batcher.producing():
            batcher.wait(waiting[0])

    def closes():
        until(lambda: any(batcher._awaited.values()))
        threading.Timer(0.02, go.set).start()
        batcher.close()
        assert not batcher._thread.is_alive()

    in_threads(batcher, submits, waits, closes)
    assert first.result().tolist() == [3, 3]  # it was being computed
    assert waiting[1].done()
    with pytest.raises(RuntimeError, match="the batcher was closed"):
        batcher.submit(np.ones(3))
