"""Workers as processes: starting them side by side, asking them for repetitions, ending them."""
import concurrent.futures
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from cases import RIVALS

HERE = Path(__file__).resolve().parent
PATIENCE = 120  # seconds that a repetition may take
FAREWELL = 10  # seconds that a worker may take to end
LONGEST = 300  # characters of a message that are kept
ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")


class Missing(Exception):
    """A contestant that cannot take part, and why."""


def say(*words):
    """Progress, on standard error; a line at once, as several threads have something to say."""
    sys.stderr.write(" ".join(map(str, words)) + "\n")
    sys.stderr.flush()


def worker_command(name, case, options):
    """The command that starts a contestant's worker for a case."""
    if name == "slim":
        return [str(options.ours), case.net, str(case.batch), case.mode, case.precision,
                *shlex.split(options.ours_options)]
    script, *further = RIVALS[name]
    python = options.jax_python if name == "jax" else options.python
    return [python, str(HERE / script), *further, "--net", case.net, "--batch", str(case.batch),
            "--mode", case.mode, "--precision", case.precision, "--device", options.device]


def worker_environment():
    """The variables of a worker's environment; what is set already stays."""
    scratch = Path(tempfile.gettempdir()) / "slim-gpu-rivals"
    return {"TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONDONTWRITEBYTECODE": "1", **os.environ}


class Contestant:
    """A worker process, in a process group of its own with those that it starts."""

    def __init__(self, name, command, log):
        self.name, self.log, self.ready, self.late = name, log, "", False
        with open(log, "w") as messages:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, text=True,
                bufsize=1, env=worker_environment(), start_new_session=True)

    def kill(self, late=False):
        """Ends it at once, with all that it started."""
        self.late = late
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def answer(self, seconds, start=""):
        """The next line that starts like this, if it comes within so many seconds."""
        timer = threading.Timer(seconds, self.kill, (True,))
        timer.start()
        try:
            for line in self.process.stdout:
                if line.startswith(start):
                    return line
        finally:
            timer.cancel()
        status = self.process.wait()
        raise Missing((f"no answer in {seconds:.0f} s" if self.late
                       else f"ended with exit status {status}") + self.last_words())

    def last_words(self):
        """The last line of its messages that names an error (some libraries add advice), or the
        last of all; shows the end of them."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        say("\n".join([f"--- {self.name} ended; the end of its messages:", *lines[-12:]]))
        errors = [line for line in lines if ERROR.match(line)]
        return f": {(errors or lines)[-1].strip()[:LONGEST]}" if lines else ""

    def wait_ready(self, seconds):
        """Waits until it is warm."""
        self.ready = self.answer(seconds, "ready")[len("ready"):].strip()

    def run(self):
        """The milliseconds of one call, of a repetition."""
        with contextlib.suppress(OSError):
            self.process.stdin.write("run\n")
        line = self.answer(PATIENCE)
        try:
            return float(line)
        except ValueError as error:
            raise Missing(f"answered {line.strip()[:LONGEST]!r}") from error

    def stop(self):
        """Ends the process."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self.process.stdout.close()


def start(name, command, options, running):
    """A contestant that is ready; it is in `running` from its start on."""
    patience = min(options.limit, options.deadline - time.monotonic())
    if patience <= 0:
        raise Missing("the time was over before its start")
    say(f"  starting {name}")
    began = time.monotonic()
    try:
        contestant = Contestant(name, command, options.logs / f"{name}.log")
    except OSError as error:
        raise Missing(f"cannot be started: {error}") from error
    running.append(contestant)
    contestant.wait_ready(patience)
    say(f"  {name} ready after {time.monotonic() - began:.0f} s: {contestant.ready}")
    return contestant


@contextlib.contextmanager
def started(commands, options, missing):
    """The contestants of {name: command} that get ready, started at once or with --serial-start one
    by one; ends them all.  Those that fail are added to `missing`."""
    running, ready = [], []
    try:
        with concurrent.futures.ThreadPoolExecutor(
                1 if options.serial_start else len(commands)) as pool:
            futures = {name: pool.submit(start, name, command, options, running)
                       for name, command in commands.items()}
            try:
                for name, future in futures.items():
                    try:
                        ready.append(future.result())
                    except Missing as reason:
                        missing[name] = str(reason)
                        say(f"missing: {name}: {reason}")
            except BaseException:  # whoever waits for one that starts would wait for long
                pool.shutdown(wait=False, cancel_futures=True)
                for contestant in running:
                    contestant.kill()
                raise
        yield ready
    finally:
        for contestant in running:
            contestant.stop()
