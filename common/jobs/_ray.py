"""The same work on a Ray cluster: one task an item, again elsewhere when a worker dies."""

import os
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from common.jobs.workers import Died
from common.processors import THREADS

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_RETRIES = 3  # times that an item whose worker died is tried again
_PATIENCE = 10.0  # seconds for items to end that are no longer wanted
_AHEAD = 4  # items handed to Ray for each processor; the rest waits here


def each(
    function: Callable[[Argument], Result],
    arguments: Iterable[Argument],
    workers: int,
    threads: int,
) -> Generator[tuple[Argument, Result | Died], None, None]:
    """As `workers.each`, on the cluster of RAY_ADDRESS, or on one of this machine.

    Every machine of a cluster needs this package, and the same paths of sources and output.

    Args:
        function: Something that pickles; what it returns pickles too.
        arguments: What to call it with.
        workers: How many at once, without a cluster; a cluster has its own number.
        threads: How many threads an item's libraries may use, where the environment is silent.

    Raises:
        OSError, ImportError: The function raised it, or Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("--engine=ray needs Ray. Install it: pip install 'i3d[ray]'") from error

    running: dict[ray.ObjectRef, Argument] = {}
    started = not ray.is_initialized()
    if started and os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    elif started:
        ray.init(num_cpus=max(1, workers), include_dashboard=False, log_to_driver=False)
    try:
        environment = {name: os.environ.get(name, str(threads)) for name in THREADS}
        remote = ray.remote(
            num_cpus=1, max_retries=_RETRIES, runtime_env={"env_vars": environment}
        )(_call)
        shared = ray.put(function)
        window = _AHEAD * int(ray.cluster_resources().get("CPU", 1))
        waiting = list(arguments)[::-1]
        while waiting or running:
            while waiting and len(running) < window:
                argument = waiting.pop()
                running[remote.remote(shared, argument)] = argument
            for reference in ray.wait(list(running), num_returns=1)[0]:
                argument = running.pop(reference)
                try:
                    yield argument, ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                    yield argument, Died(f"the worker process died {_RETRIES + 1} times")
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_PATIENCE)
        if started:
            ray.shutdown()


def _call(function: Callable[[Argument], Result], argument: Argument) -> Result:
    return function(argument)
