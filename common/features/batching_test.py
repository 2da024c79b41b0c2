"""Batches of several threads: results, sharing, kinds of clips; nobody ever waits for nothing."""

import contextlib
import random
import sys
import threading
import time

import numpy as np
import pytest

from common.features.batching import Batcher
from common.jobs import parallel
from common.testing.producers import PATIENCE, Network, clips, in_threads, producer


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7, 20])
def test_results_are_those_of_each_clip(size):
    network, inputs = Network(), clips(10, shape=(2, 3))
    with Batcher(network, size) as batcher:
        (results,) = in_threads(batcher, producer(batcher, inputs))
    for clip, result in zip(inputs, results, strict=True):
        np.testing.assert_array_equal(result, Network.of(clip), strict=True)
    given = np.concatenate(network.batches)
    assert [batch.shape for batch in network.batches] == [(size, 2, 3)] * -(-10 // size)
    np.testing.assert_array_equal(given[:10], inputs)
    assert not given[10:].any()


def test_a_result_is_a_copy_of_its_own():
    """Neither those of its neighbours stay in memory with it, nor does the network's buffer."""
    buffer = np.zeros((2, 2), np.float32)

    def compute(batch):
        np.copyto(buffer, Network.of(batch))
        return buffer

    with Batcher(compute, 2) as batcher:
        (results,) = in_threads(batcher, producer(batcher, clips(5)))
    assert [result.tolist() for result in results] == [[3.0 * k, 3.0 * k] for k in range(1, 6)]
    assert all(result.base is None for result in results)


def test_threads_share_a_batch():
    network, ready = Network(), threading.Barrier(2)
    with Batcher(network, 4) as batcher:
        one, two = in_threads(
            batcher,
            producer(batcher, clips(2, 1), ready),
            producer(batcher, clips(2, 10), ready),
        )
    assert len(network.batches) == 1
    assert sorted(network.batches[0][:, 0]) == [1, 2, 10, 11]
    assert [result[0] for result in one] == [3, 6]
    assert [result[0] for result in two] == [30, 33]


def test_a_full_batch_waits_for_nobody():
    with Batcher(Network(), 2) as batcher, batcher.producing():
        futures = [batcher.submit(clip) for clip in clips(2)]
        assert [future.result(PATIENCE)[0] for future in futures] == [3, 6]


def test_a_batch_that_is_not_full_waits_for_every_producer():
    network, ready = Network(), threading.Barrier(3)
    with Batcher(network, 8) as batcher:
        in_threads(
            batcher,
            *(producer(batcher, clips(2, 10 * k), ready) for k in (1, 2, 3)),
        )
    (batch,) = network.batches
    assert sorted(batch[:, 0]) == [0, 0, 10, 11, 20, 21, 30, 31]
    assert not batch[6:].any()


def test_a_producer_whose_result_is_there_is_not_waiting():
    """Even before it has woken up; what others wait for is not computed without its next clips."""
    network, ready = Network(), threading.Barrier(2)

    def in_steps():
        with batcher.producing():
            ready.wait(PATIENCE)
            for k in range(20):
                batcher.wait(batcher.submit(np.float32([1, k])))

    with Batcher(network, 2) as batcher:
        in_threads(batcher, in_steps, in_steps)
    assert len(network.batches) == 20
    assert all((batch[:, 0] == 1).all() for batch in network.batches)


def test_a_thread_that_is_no_producer_waits_for_none():
    network = Network()
    with Batcher(network, 4) as batcher:
        results = [batcher.wait(batcher.submit(clip)) for clip in clips(2)]
    assert [result[0] for result in results] == [3, 6]
    assert [np.count_nonzero(batch[:, 0]) for batch in network.batches] == [1, 1]


@pytest.mark.parametrize("other", [((4,), np.float32), ((3,), np.uint8), ((2, 3), np.float32)])
def test_shapes_and_dtypes_are_not_mixed(other):
    network, pairs = Network(), zip(clips(5), clips(5, 10, *other), strict=True)
    inputs = [clip for pair in pairs for clip in pair]
    with Batcher(network, 2) as batcher:
        (results,) = in_threads(batcher, producer(batcher, inputs))
    for clip, result in zip(inputs, results, strict=True):
        np.testing.assert_array_equal(result, Network.of(clip), strict=True)
    kinds = [(batch.shape[1:], batch.dtype) for batch in network.batches]
    assert sorted(map(str, kinds)) == sorted(
        map(str, [((3,), np.dtype("f4"))] * 3 + [(other[0], np.dtype(other[1]))] * 3)
    )


@pytest.mark.parametrize("size", [1, 2, 5])
def test_many_shapes_do_not_fill_it_up(size):
    """More clips than may wait, and no two of a shape: partial batches make room."""
    network, ready = Network(), threading.Barrier(2)
    inputs = [np.full(k, k, np.float32) for k in range(1, 41)]
    with Batcher(network, size) as batcher:
        many, few = in_threads(
            batcher,
            producer(batcher, inputs, ready),
            producer(batcher, clips(1, 7, (50,)), ready),
        )
    assert [result[0] for result in many] == [k * k for k in range(1, 41)]
    assert few[0][0] == 350
    assert len(network.batches) == 41


def test_one_that_waits_is_not_passed_over():
    """Two go on with one shape, in batches that are never full, while a third has another."""
    network, ready, over = Network(), threading.Barrier(3), threading.Event()

    def goes_on():
        with batcher.producing():
            ready.wait(PATIENCE)
            steps = 0
            while not over.is_set() and steps < 1000:
                batcher.wait(batcher.submit(np.ones(3, np.float32)))
                steps += 1
            return steps

    def waits():
        producer(batcher, clips(1, shape=(5,)), ready)()
        over.set()

    with Batcher(network, 3) as batcher:
        *steps, _ = in_threads(batcher, goes_on, goes_on, waits)
    assert max(steps) < 1000


def test_a_thread_may_produce_for_two():
    """It leaves both before it waits, and so do others."""
    ready = threading.Barrier(3)

    def produce():
        with contextlib.ExitStack() as stack:
            for batcher in (one, two):
                stack.enter_context(batcher.producing())
            ready.wait(PATIENCE)
            futures = [(each, each.submit(clip)) for clip in clips(15) for each in (one, two)]
        return [batcher.wait(future)[0] for batcher, future in futures]

    networks = Network(), Network()
    with Batcher(networks[0], 4) as one, Batcher(networks[1], 7) as two:
        results = in_threads(one, produce, produce, produce)
    assert results == [[3 * k for k in range(1, 16) for _ in (one, two)]] * 3
    assert [len(network.batches) for network in networks] == [12, 7]


def test_items_of_the_engine_of_threads():
    """As in a run: each item a video, whose windows fill batches with those of others."""
    network = Network()

    def rows(count):
        with batcher.producing():
            futures = [batcher.submit(clip) for clip in clips(count, 100 * count)]
            return [float(batcher.wait(future)[1]) for future in futures]

    with Batcher(network, 4) as batcher:

        def work():
            results = parallel.each(rows, range(20), 3, engine="threads")
            return {number: future.result() for number, future in results}

        (found,) = in_threads(batcher, work)
    assert found == {n: [300.0 * n + 3 * k for k in range(n)] for n in range(20)}
    assert sum(np.count_nonzero(batch[:, 0]) for batch in network.batches) == sum(range(20))


@pytest.fixture
def switching():
    """Threads take turns far more often than they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("seed", range(30))
def test_any_producers_in_any_order(seed, switching):
    """Each clip is computed once, its result its own; nobody hangs; never more than may wait."""
    chance = random.Random(seed)
    size, threads, kinds = chance.randint(1, 5), chance.randint(1, 6), chance.randint(1, 4)
    backlog, seen = [], []

    def compute(batch):
        backlog.append(len(batcher._clips))
        assert len(batch) == size
        numbers = batch[:, 0]
        seen.extend(numbers[numbers != 0])
        if chance.random() < 0.2:
            time.sleep(0.0005)
        if (numbers % 50 == 49).any():
            raise ArithmeticError(set(numbers))
        return Network.of(batch)

    def check(clip, future):
        try:
            np.testing.assert_array_equal(batcher.wait(future), Network.of(clip))
        except ArithmeticError as error:
            assert clip[0] in error.args[0]

    def produces(number):
        own, left = random.Random(1000 * seed + number), []
        count = own.randint(0, 60)
        submitted = 0
        while submitted < count:
            try:
                with batcher.producing():
                    for _ in range(own.randint(1, 30)):
                        if submitted < count and own.random() < 0.7:
                            kind = own.randrange(kinds)
                            clip = np.full(2 + kind, 1000 * number + submitted + 1, np.int64)
                            left.append((clip, batcher.submit(clip)))
                            submitted += 1
                        elif left and own.random() < 0.8:
                            check(*left.pop(own.randrange(len(left))))
                        elif own.random() < 0.1:
                            time.sleep(0.0005)
                        elif own.random() < 0.05:
                            raise LookupError
            except LookupError:
                continue
        for each in left:
            check(*each)
        return count

    with Batcher(compute, size) as batcher:
        counts = in_threads(batcher, *(lambda n=n: produces(n) for n in range(threads)))
    assert sorted(seen) == [
        1000 * n + k + 1 for n, count in enumerate(counts) for k in range(count)
    ]
    assert max(backlog, default=0) <= 2 * size
