"""Random numbers that follow from what is scored, not from which worker scores it or what that scored before."""

from __future__ import annotations

import hashlib
import random
import sys

from batchscore.minibatch import MiniBatch


def seed(mini_batch: MiniBatch) -> None:
    """Seed the generators that all code of a process shares, by the mini-batch: Python's, NumPy's and torch's.

    Only libraries that are imported already have one. Generators of a model's own are its own affair.
    """
    places = [(piece.file.name, piece.first_row) for piece in mini_batch.slices]
    number = int.from_bytes(hashlib.sha256(repr(places).encode()).digest()[:4], "big")
    random.seed(number)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(number)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(number)
