"""`python -m batchscore`."""

from batchscore.cli import main

main()
