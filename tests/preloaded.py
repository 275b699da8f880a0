"""The program in a process that has imported it already: a start costs a fork instead of a third of a second.

A server without threads imports everything once, and forks a process per call. Each goes on as ``python -m
pruner`` would, with the arguments, environment, directory and streams that the caller gives. What only a new
interpreter shows takes a real start: a missing import, the order of a set, the memory and the command line
of a process, a variable that Python reads when it starts.
"""

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading

LONGEST = 100_000
"""Bytes of a request; what is longer is started."""
USED_LATER = (
    "anyio._backends._asyncio",
    "jinja2",
    "prometheus_client",
    "rich.console",
    "rich.progress",
    "uvloop",
)
"""What the program imports when it uses it. Not kubernetes_asyncio: it looks at KUBECONFIG when imported."""
READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_", "TZ", "MALLOC")
"""How the names of variables begin that are read when an interpreter starts."""


class Preloaded:
    """The server that the tests of one process share; the first call starts it, in its environment."""

    def __init__(self):
        self._lock = threading.Lock()
        self._server = None

    def popen(self, command, arguments, *, env, cwd, stdin=None):
        """A process whose output is captured: the program with ``arguments``, or else ``command``.

        ``command`` is for what takes a real start; with ``arguments`` it starts the same program anew.
        """
        request = json.dumps({"arguments": arguments, "env": env, "cwd": str(cwd)}).encode()
        streams = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        is_possible = arguments is not None and sys.platform == "linux" and len(request) <= LONGEST
        if not is_possible or not self._starts_alike(env):
            return subprocess.Popen(command, env=env, cwd=cwd, **streams)
        return Forked(command, request, self._requests, streams)

    def _starts_alike(self, env):
        read = {name: value for name, value in env.items() if name.startswith(READ_AT_START)}
        with self._lock:
            if self._server is None:
                self._read = read
                self._start(env)
        return read == self._read

    def _start(self, env):
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # It ends when this process does, as this end of the socket closes.
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._server = subprocess.Popen(command, env=env, pass_fds=[theirs.fileno()])


class Forked(subprocess.Popen):
    """A process that the server forks, and waits for in the place of this one."""

    def __init__(self, command, request, requests, streams):
        self._request, self._requests = request, requests
        self._status, self._its_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(command, **streams)

    def _execute_child(self, *given):
        # As subprocess calls it: the ends of the pipes for stdin, stdout and stderr follow ten other values.
        stdin, _, _, stdout, _, stderr = given[10:16]
        streams = [0 if stdin == -1 else stdin, stdout, stderr]
        with self._its_status:
            socket.send_fds(self._requests, [self._request], [*streams, self._its_status.fileno()])
        for stream in {stdin, stdout, stderr} - {-1}:
            os.close(stream)
        self.pid = int(self._status.recv(100))
        self._child_created = True

    def _try_wait(self, wait_flags):
        self._status.settimeout(0 if wait_flags & os.WNOHANG else None)
        try:
            said = self._status.recv(100)
        except BlockingIOError:
            return 0, 0
        self._status.close()
        return self.pid, int(said)

    def _internal_poll(self, **_):
        if self._waitpid_lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG) if self.returncode is None else (0, 0)
                if pid:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode


class Server:
    """Forks a process per request, and tells the caller of each how it ended."""

    def __init__(self, requests):
        self._requests = requests
        self._statuses = {}
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self):
        """Return in each forked process, with what was asked for; the server itself ends with its caller."""
        while True:
            ready, *_ = select.select([self._requests, self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, 1000)
                self._reap()
            if self._requests in ready:
                request, streams, *_ = socket.recv_fds(self._requests, LONGEST, 4)
                if not request:
                    os._exit(0)
                if self._fork(streams) == 0:
                    return json.loads(request), streams[:3]

    def _fork(self, streams):
        *streams, status = streams
        status = socket.socket(fileno=status)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for theirs in (self._requests, status, *self._statuses.values()):
                theirs.close()
            os.close(self._woken)
            os.close(self._waker)
        else:
            for stream in streams:
                os.close(stream)
            self._statuses[pid] = status
            status.send(str(pid).encode())
        return pid

    def _reap(self):
        while self._statuses:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            # Who has stopped waiting for it has closed the other end.
            with self._statuses.pop(pid) as caller, contextlib.suppress(BrokenPipeError):
                caller.send(str(status).encode())


def become(request, streams):
    """Be a process that was started so."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = sys.__stdin__ = _stream(0, "rb", sys.stdin)
    sys.stdout = sys.__stdout__ = _stream(1, "wb", sys.stdout)
    sys.stderr = sys.__stderr__ = _stream(2, "wb", sys.stderr)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["arguments"]
    sys.path[0] = request["cwd"]


def _stream(number, mode, like):
    """A standard stream as Python opens it, for what the descriptor has become."""
    raw = os.fdopen(number, mode, closefd=False)
    buffered_by_line = like.line_buffering or raw.raw.isatty()
    return io.TextIOWrapper(raw, like.encoding, like.errors, line_buffering=buffered_by_line)


def preload():
    """Import what the program may import, and compile the pages."""
    import pruner

    for module in pkgutil.walk_packages(pruner.__path__, "pruner."):
        if module.name != "pruner.__main__":
            importlib.import_module(module.name)
    for name in USED_LATER:
        # An extra that is not installed is missed where it is used.
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    from pruner.report.html.page import environment

    for page in environment().list_templates(["j2"]):
        environment().get_template(page)
    assert threading.active_count() == 1, "only the thread that forks goes on in the new process"
    # The collector must not touch, and so copy, what all share.
    gc.freeze()


def leave(code):
    """End as an interpreter does, without taking apart all that was imported: that would outlast the call."""
    if isinstance(code, int | None):
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload()
    become(*Server(socket.socket(fileno=int(sys.argv[1]))).serve())
    try:
        runpy.run_module("pruner", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        leave(end.code)
        raise
