"""The pool of a Ray cluster."""

import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from common.jobs._process import WorkerDiedError
from common.processors import THREADS

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_RETRIES = 3  # times that a call whose worker died is repeated
_PATIENCE = 10.0  # seconds for the end of calls that are cancelled


class Ray(Generic[Argument, Result]):
    """The cluster of RAY_ADDRESS, or a local one; calls whose worker dies are repeated elsewhere.

    Every machine of a cluster needs this package, and the same paths of sources and output.
    """

    def __init__(self, function: Callable[[Argument], Result], workers: int, threads: int = 1):
        """Connects to the cluster, unless this process is connected.

        Args:
            function: Pickles, as do its arguments and results.
            workers: Calls at a time on a local cluster.
            threads: Threads for the libraries in each, unless the environment says otherwise.

        Raises:
            ImportError: Ray is not installed.
        """
        try:
            import ray
        except ImportError as error:
            raise ImportError(
                "--engine=ray needs Ray. Install it: pip install 'i3d[ray]'"
            ) from error
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started and os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False)
        elif self._started:
            ray.init(num_cpus=max(1, workers), include_dashboard=False, log_to_driver=False)
        self.width = int(ray.cluster_resources().get("CPU", 1))
        environment = {name: os.environ.get(name, str(threads)) for name in THREADS}
        self._remote = ray.remote(
            num_cpus=1, max_retries=_RETRIES, runtime_env={"env_vars": environment}
        )(_call)
        self._function = ray.put(function)
        self._running: set[Any] = set()

    def submit(self, argument: Argument) -> Future[Result]:
        """The future result of one call."""
        reference = self._remote.remote(self._function, argument)
        self._running.add(reference)
        future: Future[Result] = Future()

        def finish(done: Future[Result]) -> None:
            self._running.discard(reference)
            error = done.exception()
            if isinstance(error, self._ray.exceptions.RayTaskError):
                future.set_exception(error.cause)
            elif isinstance(error, self._ray.exceptions.RayError):
                text = f"the worker process died {_RETRIES + 1} times"
                future.set_exception(WorkerDiedError(text))
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())

        reference.future().add_done_callback(finish)
        return future

    def close(self) -> None:
        """Cancels all calls; a cluster that this process has started ends."""
        running = list(self._running)
        for reference in running:
            self._ray.cancel(reference, force=True)
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=_PATIENCE)
        if self._started:
            self._ray.shutdown()


def _call(function: Callable[[Argument], Result], argument: Argument) -> Result:
    return function(argument)
