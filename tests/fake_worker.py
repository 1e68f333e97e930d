"""A model-like Scorer without MLflow, driven by map strings, for real worker processes."""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import gc
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from math import ceil
from pathlib import Path
from types import SimpleNamespace

from batchscore.child import WorkerSpec
from batchscore.errors import AnswerRefused, ModelLoadError, StorageError, UsageError
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.outcome import Outcome, Scored

KEPT: list[object] = []
"""What a model doesn't let go of."""
START = "each"
"""How workers are started where a test doesn't say it; changed by those that run both ways."""


class UnpicklableError(Exception):
    """One that can't be taken to another process as an object."""

    def __init__(self, message):
        super().__init__(message)
        self.lock = threading.Lock()


class UnspeakableError(Exception):
    """One whose text can't be had."""

    def __str__(self):
        raise ValueError("no text")


def taken(folder: str, what: str) -> int:
    """How often this was asked before, in all processes of the test."""
    with Path(folder, what).open("ab") as calls:
        calls.write(b".")
        return calls.tell() - 1


def letter(letters: str, number: int) -> str:
    return letters[number] if number < len(letters) else "S"


def load(setup):  # noqa: C901, PLR0912  # a table of what may go wrong
    """A FakeModel, after what the next letter of ``loads`` does."""
    match letter(setup.get("loads", ""), taken(setup["folder"], "loads")):
        case "F":
            raise RuntimeError("no such layer")
        case "M":
            raise ModelLoadError("the model needs lightgbm 4")
        case "U":
            raise UsageError("no method 'predict_probs'")
        case "X":
            print("about to leave")
            os._exit(3)
        case "H":
            time.sleep(60)
        case "O":
            os.kill(os.getpid(), signal.SIGKILL)
        case "K":
            ctypes.string_at(0)
        case "Z":
            sys.exit("no licence")
        case "0":
            os._exit(0)
        case "G":
            hangs_in_c(setup["folder"])
        case "t":
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        case "a":
            os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
        case "s":
            KEPT.extend(socket.socketpair())
        case "f":
            KEPT.append(open(__file__))  # noqa: SIM115, PTH123  # as a model may
        case "c":
            KEPT.append(subprocess.Popen(["sleep", "60"]))
        case "g":
            cuda = SimpleNamespace(is_initialized=lambda: True)
            sys.modules["torch"] = SimpleNamespace(cuda=cuda)  # as far as forking asks
        case "e":
            atexit.register(hangs_at_the_end, setup["folder"])
        case "P":
            print("loading and chatting" * 10_000)  # more than a pipe holds
    KEPT.append(b"x" * setup.get("ballast", 0))
    if objects := setup.get("objects"):
        KEPT.append([[number] for number in range(objects)])
        gc.enable()  # as libraries do that turn it off for a while
    own = {"loads", "ballast", "objects"}
    return FakeModel(**{name: value for name, value in setup.items() if name not in own})


def hangs_at_the_end(folder):
    """As a model's threads and libraries may when the interpreter is torn down."""
    taken(folder, "torn down")
    time.sleep(60)


def load_surroundings(_setup):
    """A FakeModel whose facts are what the worker finds around itself, when it is asked."""
    return Surrounded("")


class FakeModel:
    """Scores one row for each byte of a file; the n-th call in a test does what the n-th letter of ``letters`` says.

    With ``letters="by file"`` the first letter of each file's name decides instead.
    """

    def __init__(self, folder, letters="", **facts):
        self.folder = folder
        self.letters = letters
        self._facts = facts

    def close(self):
        if self.folder:
            taken(self.folder, "closed")

    def facts(self):
        return {"pid": os.getpid(), **self._facts}

    def score(self, mini_batch, progress):
        call = taken(self.folder, "calls")
        names = ",".join(piece.file.name for piece in mini_batch.slices)
        with Path(self.folder, "attempts").open("a") as log:
            log.write(f"{names}\n")
        if self.letters == "by file":
            letters = [piece.file.name[0].upper() for piece in mini_batch.slices]
        else:
            letters = [letter(self.letters, call)]
        for each in letters:
            answer = ACTIONS[each](self.folder, call, progress)
            if answer is not None:
                return answer
        scored = (Scored(piece, piece.file.size, mini_batch.part_name, 0, 1) for piece in mini_batch.slices)
        return Outcome(mini_batch.number, tuple(scored), notes=(f"pid {os.getpid()}",))


class Surrounded(FakeModel):
    def facts(self):
        import csv
        import json

        import batchscore

        return {
            "pid": os.getpid(),
            "files": [csv.__file__, json.__file__, batchscore.__file__],
            "path": sys.path,
            "argv": sys.argv,
            "environment": dict(os.environ),
            "executable": sys.executable,
            "leads_group": os.getpgrp() == os.getpid(),
            "ignores_interrupts": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
            "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
            "stdin": sys.stdin.read(),
            "modules": sorted(sys.modules),
        }


def scores(*_):
    """Go on to score."""


def raises(*_):
    raise ValueError("boom")


def raises_another(_folder, call, _progress):
    raise ValueError(f"another boom, {call}")


def raises_unspeakable(*_):
    raise UnspeakableError


def raises_surrogate(*_):
    raise ValueError("lone \ud800 surrogate")


def raises_huge(*_):
    raise ValueError("start" + "x" * 1_000_000 + "end")


def runs_out_of_memory(*_):
    raise MemoryError


def raises_interrupt(*_):
    raise KeyboardInterrupt


def raises_exit(*_):
    sys.exit("goodbye")


def is_refused(*_):
    raise AnswerRefused("predict returned 2 rows for 3")


def finds_the_disk_full(*_):
    raise StorageError("the disk is full")


def exits(*_):
    print("last words")
    os._exit(3)


def crashes(*_):
    ctypes.string_at(0)


def is_killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(*_):
    time.sleep(60)


def says_slowly_where_it_hangs(*_):
    """As on a busy machine, where who writes line by line has to wait in between."""

    def say(*_):
        for line in (b"Current thread\n", b"in the first frame\n", b"in the second frame\n"):
            os.write(frames, line)
            time.sleep(0.05)

    links = {int(path.name): str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    frames = next(number for number, target in links.items() if target.endswith("(deleted)"))
    faulthandler.unregister(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, say)
    time.sleep(60)


def hangs_in_c(folder, *_):
    """Hang holding the GIL, with a child of its own, and tell who they are."""
    child = subprocess.Popen(["sleep", "60"])
    Path(folder, "hanging.new").write_text(f"{os.getpid()} {child.pid}")
    Path(folder, "hanging.new").rename(Path(folder, "hanging"))
    ctypes.PyDLL(None).sleep(60)


def is_slow(_folder, _call, progress):
    for _ in range(4):
        time.sleep(0.3)
        progress(5)


def waits(folder, *_):
    """Score once there is a file `go`."""
    while not Path(folder, "go").exists():
        time.sleep(0.01)


def closes_everything(*_):
    os.closerange(3, 256)
    time.sleep(60)


def writes_garbage(*_):
    for descriptor in sockets():
        os.write(descriptor, b"Traceback (most recent call last)" * 100)
    time.sleep(60)


def floods(*_):
    """Write for ever where only messages belong."""
    while True:
        for descriptor in sockets():
            os.write(descriptor, b"\0\0\0\x0c" + b'{"kind":"x"}')


def answers_for_another(*_):
    other = FileSlice(InputFile("other.csv", "/other.csv", 1, "v"))
    return Outcome(999, (Scored(other, 1, "p", 0, 1),))


def answers_no_json(_folder, call, _progress):
    return Outcome(call, (), notes=(object(),))


def chatters(*_):
    print("chatter \udcff" + "." * 500)
    os.write(2, b"\xff\xfe raw\n")


def forks(*_):
    """Fork, and let both return."""
    os.fork()


def starts_a_child(folder, *_):
    Path(folder, "child").write_text(str(subprocess.Popen(["sleep", "60"]).pid))


def leaves_children(folder, *_):
    """Exit, leaving a child in the group, and a forked one outside it that keeps every descriptor."""
    child = subprocess.Popen(["sleep", "60"])
    outsider = os.fork()
    if outsider == 0:
        os.setsid()
        time.sleep(60)
    Path(folder, "left").write_text(f"{child.pid} {outsider}")
    os._exit(3)


def hoards(*_):
    """Take ever more memory, slowly enough to be caught."""
    hoard = []
    while True:
        hoard.append(b"x" * (8 << 20))
        time.sleep(0.01)


def has_a_child_hoard(*_):
    """Let a child take the memory."""
    code = "import time; hoard = b'x' * (200 << 20); time.sleep(60)"
    subprocess.run([sys.executable, "-c", code], check=False)


def collects(*_):
    """Look for garbage among all that is loaded."""
    gc.collect()


def leaks(*_):
    KEPT.append(b"x" * (30 << 20))


def exits_as_if_all_were_well(*_):
    os._exit(0)


def ignores_sigterm(folder, *_):
    """Hang in C with the GIL and all signals blocked that can be."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    hangs_in_c(folder)


def raises_unpicklable(*_):
    raise UnpicklableError("with a lock")


def recurses(*_):
    recurses()


def answers_an_endless_one(_folder, call, _progress):
    loop = []
    loop.append(loop)
    return Outcome(call, (), notes=(loop,))


def prints_for_ever(*_):
    while True:
        os.write(1, b"x" * 65536)
        os.write(2, b"y" * 65536)


def prints_a_lot(*_):
    for _ in range(300):
        print("a line of a flood " * 3000)
        print("\0" * 50_000, file=sys.stderr)


def closes_its_output(*_):
    """What it prints has nowhere to go; it scores all the same."""
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def hangs_in_company(folder, *_):
    starts_company(folder, name="company of a hang")
    time.sleep(60)


def starts_company(folder, *_, name="company"):
    """Leave threads, a child, a fork and one with a session of its own behind, and score."""
    for _ in range(5):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    child = subprocess.Popen(["sleep", "60"])
    loner = subprocess.Popen(["sleep", "60"], start_new_session=True)
    fork = os.fork()
    if fork == 0:
        time.sleep(60)
        os._exit(0)
    Path(folder, f"{name}.new").write_text(f"{child.pid} {fork} {loner.pid}")
    Path(folder, f"{name}.new").rename(Path(folder, name))


def ends_its_children(folder, *_):
    """Tell a child and a fork of its own to end."""
    child = subprocess.Popen(["sleep", "60"])
    fork = os.fork()
    if fork == 0:
        time.sleep(60)
        os._exit(0)
    time.sleep(0.3)
    child.terminate()
    os.kill(fork, signal.SIGTERM)
    Path(folder, "ends").write_text(f"{child.wait()} {os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])}")


ACTIONS = {
    "S": scores,
    "A": scores,
    "1": starts_a_child,
    "B": raises_huge,
    "C": closes_everything,
    "D": raises_another,
    "E": raises_unspeakable,
    "F": raises,
    "G": hangs_in_c,
    "H": hangs,
    "I": raises_interrupt,
    "J": writes_garbage,
    "K": crashes,
    "L": raises_surrogate,
    "M": runs_out_of_memory,
    "N": is_refused,
    "O": is_killed,
    "P": chatters,
    "Q": forks,
    "R": is_slow,
    "T": answers_no_json,
    "U": finds_the_disk_full,
    "2": hoards,
    "3": has_a_child_hoard,
    "4": leaks,
    "5": ends_its_children,
    "6": ignores_sigterm,
    "7": prints_for_ever,
    "8": prints_a_lot,
    "9": starts_company,
    "0": exits_as_if_all_were_well,
    "!": raises_unpicklable,
    "@": recurses,
    "#": answers_an_endless_one,
    "^": hangs_in_company,
    "%": closes_its_output,
    "V": leaves_children,
    "W": answers_for_another,
    "X": exits,
    "Y": floods,
    "Z": raises_exit,
    "w": waits,
    "c": collects,
    "h": says_slowly_where_it_hangs,
}


def spec(folder, letters="", *, loads="", load_timeout=20.0, setup=None, **more):
    """What a worker of this module is started with."""
    setup = {"folder": str(folder), "letters": letters, "loads": loads, **(setup or {})}
    own = {"setup": setup, "loader": f"{__file__}:load", "load_timeout": load_timeout, "start": START}
    return WorkerSpec(**{**own, **more})


def is_running(pid):
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


PATIENCE = 20.0
"""Seconds for what takes a moment: a busy machine needs some of them; what hangs here takes a minute, or ten."""


def comes_true(claim, seconds=PATIENCE):
    """Whether it does within so many seconds, counted in looks: a machine that stands still takes none of them away."""
    for _ in range(ceil(seconds / 0.02)):
        if claim():
            return True
        time.sleep(0.02)
    return False


def gone(*pids):
    """Whether these processes end within the second that is promised, and one more for a busy machine."""
    return comes_true(lambda: not any(map(is_running, pids)), 2)


def count(folder, what):
    """How many calls or loads there were, in all processes of the test."""
    return (folder / what).stat().st_size if (folder / what).exists() else 0


def sockets():
    return [fd for fd in range(3, 64) if _is_socket(fd)]


def _is_socket(descriptor):
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def batch(number=0, *names):
    """A mini-batch of whole files of 3 rows each."""
    files = (InputFile(name, f"/in/{name}", 3, "v") for name in names or ("a.csv",))
    return MiniBatch(number, tuple(FileSlice(file) for file in files))
