"""`python -m batchscore`."""

import os
import sys

try:
    here = os.getcwd()  # noqa: PTH109  # pathlib may be one of the files there
except FileNotFoundError:
    here = ""
if sys.path[0] == here and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # -m puts the working directory there, whose json.py or pandas.py isn't meant

from batchscore.cli import main

main()
