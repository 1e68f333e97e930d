"""Workers of quick jobs that print and log: what, a file's name says."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import quick

from batchscore.child import WorkerSpec

FLOOD = 3_000


def use(monkeypatch, **environment):
    """Have jobs scored by the workers of this module."""
    monkeypatch.setattr("batchscore.runner.worker_spec", lambda prepared: spec(prepared, environment))
    monkeypatch.setattr("batchscore.runner.early_spec", lambda *_: None)


def spec(prepared, environment):
    return WorkerSpec(
        {"parts": prepared.workspace.parts},
        loader=f"{__file__}:load",
        environment=(("PYTHONPATH", str(Path(__file__).parent)), ("PYTHONUNBUFFERED", ""), *environment.items()),
        logging_level=prepared.job.logging_level,
    )


def load(setup):
    print("found the weights")
    logging.info("loaded")  # noqa: LOG015  # as scripts do
    return Talking(Path(setup["parts"]))


class Talking(quick.Doubled):
    def score(self, mini_batch, progress):
        for piece in mini_batch.slices:
            name = piece.file.name.partition(".")[0].rstrip("0123456789")
            SAYINGS.get(name, lambda: None)()
        return super().score(mini_batch, progress)


def speaks():
    """Through Python, C and a child, with and without line ends."""
    print("python says", end=" ")
    sys.stdout.flush()
    subprocess.run(["echo", "a child says"], check=True)
    os.write(2, b"raw \xff\n")
    print("no line end", end="", file=sys.stderr)
    ctypes.CDLL(None).printf(b"c says")


def fails():
    print("before it fails")
    raise LookupError("never found")


def crashes():
    ctypes.CDLL(None).printf(b"last words in c\n")
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs():
    print("stuck from here")
    time.sleep(60)


def floods():
    for number in range(FLOOD):
        print(f"line {number:6}", "." * 100)


def tells():
    """What is secret, in two pieces and a part of a line each."""
    secret = os.environb[b"STORE_KEY"]
    os.write(1, b"key: " + secret[:5])
    time.sleep(0.05)
    os.write(1, secret[5:] + b" at https://host/x?sig=" + b"abcdef\n")
    logging.getLogger("script").warning("logged %s", os.environ["STORE_KEY"])


def logs():
    logger = logging.getLogger("script")
    for level in ("debug", "info", "warning"):
        getattr(logger, level)(f"a {level}")
    logging.info("by the root")  # noqa: LOG015  # as scripts do


def configures():
    logging.basicConfig(format="mine: %(message)s", level=logging.DEBUG)
    logging.getLogger("script").debug("details")


SAYINGS = {each.__name__: each for each in (speaks, fails, crashes, hangs, floods, tells, logs, configures)}
