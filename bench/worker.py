"""Every library in a process of its own, told over a pipe what to do.

Threads of torch's OpenMP go on spinning for milliseconds after the work is done; in one process, or if the
other side began at once, they would take its cores. So a worker answers only when its threads have gone to
sleep, and then waits, blocked on the pipe, while the other one is timed.

The parent's side is `Worker`, the child's `Bench`: a method called on the one runs on the other. Messages are
pickled through the child's standard input and output.
"""

import contextlib
import ctypes
import gc
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import fastmlp
from fastmlp import ops

from . import ceilings, environment, timing, training, work
from .peers import BACKENDS, use_threads, versions

SHORT = 0.05  # seconds of a call that another one before it warms up; what takes longer is cold for a small part alone
A_MOMENT = 0.02  # seconds: a first call that is quicker has not compiled


class WorkerError(RuntimeError):
    """What went wrong in the worker, in its words."""


# ------------------------------------------------------------------------------------------- the parent's side


class Worker:
    """One library, in a process of its own, with a fixed number of threads.

    library: "fastmlp", "torch", "numpy" and the like, or a backend of fastmlp as a library of its own. backend:
    fastmlp's, by name; None is its own choice.
    cpus: the CPUs that the process may use; None is all. Raises WorkerError if the library cannot be used.
    """

    def __init__(self, library, threads, backend=None, cpus=None):
        self.library = library
        config = {"library": library, "threads": threads, "backend": backend, "cpus": cpus}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fastmlp.bench.worker", json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment_of_threads(threads),
            start_new_session=True,  # Ctrl-C on the terminal is the parent's to answer
        )
        try:
            self._receive()  # the library is imported, or it says why not
        except BaseException:  # Ctrl-C too
            self.close()
            raise

    def __getattr__(self, method):
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda *args: self._call(method, *args)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def alive(self):
        return self._process.poll() is None

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(OSError):  # what it was never told is still in the buffer
            self._process.stdin.close()

    def _call(self, method, *args):
        try:
            pickle.dump((method, args), self._process.stdin)
            self._process.stdin.flush()
        except OSError as e:
            raise WorkerError(f"{self.library}: its process has ended") from e
        return self._receive()

    def _receive(self):
        try:
            well, answer = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError) as e:
            self._process.kill()
            raise WorkerError(f"{self.library}: its process ended (exit code {self._process.wait()})") from e
        if not well:
            raise WorkerError(f"{self.library}: {answer}")
        return answer


class Workers:
    """The processes of one number of threads; one that has died is started again when it is next needed."""

    def __init__(self, threads, backend):
        self._config = (threads, backend, environment.common_cpus(threads))
        self._running = {}

    def __getitem__(self, library):
        worker = self._running.get(library)
        if worker is None or not worker.alive:
            worker = self._running[library] = Worker(library, *self._config)
        return worker

    def close(self):
        """Ends them all. What is needed later is started again."""
        for worker in self._running.values():
            worker.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def environment_of_threads(threads):
    """The parent's environment, its import path, and the number of threads for every library that reads it.

    OpenMP's threads, torch's and scikit-learn's, stay on a core each. When they wake up they may else find themselves
    on one, where the first spins until its time is over before the second can work: calls of 50 µs were seen to take
    4 ms in turn after turn, and 6 ms beside a busy neighbour, where bound ones take 0.6 ms.
    """
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(os.path.abspath(p) for p in sys.path)
    for name in ("OMP", "MKL", "OPENBLAS", "VECLIB_MAXIMUM", "NUMEXPR", "FASTMLP"):
        env[f"{name}_NUM_THREADS"] = str(threads)
    env["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of compilers beside the work
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # a checkout's import is compared with those of packages that pip compiled
    if threads > 1:
        env.setdefault("OMP_PROC_BIND", "true")
    return env


# -------------------------------------------------------------------------------------------- the child's side


class Bench:
    """What a worker can be asked to do."""

    def __init__(self, library, threads, backend=None):
        self.library, self.threads = library, threads
        self.is_own = library in ("fastmlp", *BACKENDS)
        if library in BACKENDS:
            backend = library
        if self.is_own and backend is not None:
            fastmlp.set_backend(backend)
        use_threads(library, threads, backend)
        self.is_numba = self.is_own and fastmlp.get_backend() == "numba"
        gc.freeze()  # no search for garbage goes through what was imported
        self.case = ()
        self.versions = {}

    def prepare(self, case, compiled):
        """Makes the inputs and runs every version once. -> names of those that ran, notes about the others"""
        self.case = (case, work.inputs(case), compiled)
        self.versions = {}
        notes = []
        for version in versions(self.library, *self.case):
            try:
                begin = time.perf_counter()
                with self._ready(version):
                    version.call()
                self.versions[version.name] = version
                took = time.perf_counter() - begin
                if took >= A_MOMENT and (version.compiles or self.is_numba):
                    notes.append(f"{self.library} {version.name}: the first call took {took:.2f} s")
            except Exception as e:
                notes.append(f"{self.library} {version.name} failed: {_one_line(e)}")
        wait_until_idle()
        return list(self.versions), notes

    @contextlib.contextmanager
    def _ready(self, version):
        """Within the block, what the version calls for the first time is compiled at once."""
        with version.context(), ops.compiled_at_once() if self.is_own else contextlib.nullcontext():
            yield

    def result(self, name):
        """The arrays that a version gives."""
        results = self.versions[name].results()
        wait_until_idle()
        return results

    def time(self, name, calls):
        """Seconds for `calls` calls, after one that wakes the threads and fills the caches."""
        version = self.versions[name]
        with version.context():
            if calls > 1 or version.seconds < SHORT:
                version.call()
            seconds = timing.batch_seconds(version.call, calls)
        version.seconds = seconds / calls
        wait_until_idle()
        return seconds

    def first_call(self, case):
        """Seconds that the first way takes to be made and called once; None where there is none."""
        a = work.inputs(case)
        begin = time.perf_counter()
        ways = versions(self.library, case, a)
        if not ways:
            return None
        with ways[0].context():
            ways[0].call()
        return time.perf_counter() - begin

    def train(self, task, folder):
        """See training.train."""

        def seconds_of(call):
            begin = time.perf_counter()
            result = call()
            return result, time.perf_counter() - begin

        found = training.train(self.library, task, folder, seconds_of)
        wait_until_idle()
        return found

    def peak_mib(self):
        """The most memory that this process has had; None where the system does not tell."""
        return memory_mib("VmHWM")

    def installed_mib(self):
        return environment.installed_mib(self.library)

    def memory_mib(self, name):
        """MiB that a version takes beside its inputs, at the peak of a call: what is made for it once, what a call
        needs, and what it gives. None where the system does not tell.

        The version is made anew, so that nothing of it is there before, and nothing of the others.
        """
        self.versions = {}
        before = settled_mib()
        version = next(v for v in versions(self.library, *self.case) if v.name == name)
        with self._ready(version):
            version.call()  # a network's first step is not a compiled one
            settled_mib()  # what that has freed would count as needed
            peak = peak_mib(version.call)
        wait_until_idle()
        return None if peak is None else max(0.0, peak - before)

    def cpu_seconds(self):
        """What all threads of this process have used so far."""
        return time.process_time()

    def environment(self):
        return environment.of_library(self.library)

    def fma_peak(self, dtype):
        """GFLOP/s of as many cores as there are threads, at this moment."""
        return ceilings.fma_peak(dtype, self.threads)

    def fma_peaks(self):
        """The most that they give, for each dtype; None where the compiled backend is not there to measure it."""
        return ceilings.fma_peaks(self.threads)


def wait_until_idle(limit=0.25):
    """Returns once the threads of this process sleep, or after `limit` seconds.

    The window is longer than the tick of 4 ms at which some kernels account for the time of a running thread.
    """
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        used = time.process_time()
        time.sleep(0.006)
        if time.process_time() - used < 0.001:
            return


def settled_mib():
    """The memory of this process once what it freed has gone back to the system. None without Linux."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # a C library that is not GNU's
        ctypes.CDLL(None).malloc_trim(0)
    return memory_mib("VmRSS")


def peak_mib(call):
    """The memory of this process at its peak within the call. None without Linux."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    except OSError:
        return None
    call()
    return memory_mib("VmHWM")


def memory_mib(name):
    """A line of /proc/self/status; None without Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    sizes = dict(line.split(":", 1) for line in lines)
    return int(sizes[name].split()[0]) / 1024


def _one_line(e):
    lines = str(e).strip().splitlines()
    return f"{type(e).__name__}: {lines[0] if lines else ''}"[:200]


def serve(config, requests, answers):
    """Answers (method, args) with (True, result) or (False, what went wrong), until the requests end."""

    def answer(well, value):
        pickle.dump((well, value), answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()

    try:
        if config["cpus"] is not None:
            os.sched_setaffinity(0, config["cpus"])
        bench = Bench(config["library"], config["threads"], config["backend"])
    except Exception as e:
        answer(False, _one_line(e))
        return
    answer(True, None)
    while True:
        try:
            method, args = pickle.load(requests)
        except EOFError:
            return
        try:
            well, value = True, getattr(bench, method)(*args)
        except Exception as e:
            well, value = False, _one_line(e)
        answer(well, value)


def main():
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to standard error and not into the pipe
    with contextlib.suppress(BrokenPipeError):  # whoever asked was interrupted
        serve(json.loads(sys.argv[1]), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
