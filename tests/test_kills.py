"""Kills at random moments, of the parent and of workers: a short soak; `make soak` has the long one."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from soak_kills import Disturbed, Recipe, Tally, quick_recipe, real_recipe
from stores import S3


def disturb(recipe: Recipe, folder: Path, is_enough: Callable[[Tally], bool]) -> Tally:
    """Jobs of a recipe, until there were enough kills; a failure names the seed."""
    seed = random.SystemRandom().getrandbits(32)
    tally = Tally()
    try:
        with closing(Disturbed(recipe, folder, random.Random(seed), tally)) as disturbed:
            while not is_enough(tally):
                disturbed.play(lambda: not is_enough(tally))
    except AssertionError as error:
        pytest.fail(f"seed {seed}, after {tally}: {error}")
    return tally


def test_jobs_that_are_killed_at_random_moments_are_finished_by_the_same_command(tmp_path: Path) -> None:
    """At least 20 kills of the parent and 20 of workers."""
    tally = disturb(quick_recipe(tmp_path), tmp_path, lambda tally: min(tally.parents, tally.workers) >= 20)
    assert tally.jobs


def test_jobs_on_a_store_that_are_killed_are_finished_elsewhere_too(tmp_path: Path, s3_server: S3) -> None:
    recipe = replace(quick_recipe(tmp_path, files=6), store=s3_server)
    assert disturb(recipe, tmp_path, lambda tally: min(tally.parents, tally.workers) >= 2).jobs


def test_a_real_model_over_csv_and_parquet_files_with_bad_rows_too(tmp_path: Path) -> None:
    """Predictions and failures.jsonl are those of an undisturbed run, whatever was being looked for at the time."""
    recipe = real_recipe(tmp_path, "parquet", "one", has_bad_rows=True)
    disturb(recipe, tmp_path, lambda tally: tally.kills >= 4)
