"""The mini-batches of a job: in order, and found again by their slices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.plan import Plan

NAMES = st.lists(st.text(st.sampled_from("ab/-é😀"), min_size=1, max_size=4), unique=True, max_size=20)


pytestmark = pytest.mark.usefixtures("pages")


@st.composite
def groups(draw: st.DrawFn) -> list[list[FileSlice]]:
    """Files whole, or in slices by bytes or by row groups and rows of them; in mini-batches of any size."""
    slices: list[FileSlice] = []
    for name in sorted(draw(NAMES), key=str.encode):
        file = InputFile(name, f"/in/{name}", 10, "1", (("year", None),) if "/" in name else ())
        number = draw(st.integers(1, 4))
        if number == 1:
            slices.append(FileSlice(file, max_rows=draw(st.none() | st.just(7))))
        elif draw(st.booleans()):
            slices += [FileSlice(file, 5 + each, 6 + each, each, weight=1) for each in range(number)]
        else:
            slices += [FileSlice(file, 0, 1, 9 * each, 9, weight=1) for each in range(number)]
    found = []
    while slices:
        size = draw(st.integers(1, 5))
        found.append(slices[:size])
        slices = slices[size:]
    return found


@given(groups())
def test_a_plan_is_its_mini_batches(groups: list[list[FileSlice]]) -> None:
    plan = Plan(groups)
    wanted = [MiniBatch(number, tuple(group)) for number, group in enumerate(groups)]
    assert list(plan) == wanted
    assert [batch.part_name for batch in plan] == [batch.part_name for batch in wanted]
    assert [plan[number] for number in range(len(plan))] == wanted
    assert plan[-3:] == tuple(wanted[-3:])
    assert plan.size == sum(batch.size for batch in wanted)
    assert plan.files == len({piece.file.name for group in groups for piece in group})


@given(groups(), st.integers(0, 99))
def test_each_slice_is_found_in_its_place_and_no_other_is(groups: list[list[FileSlice]], guess: int) -> None:
    plan = Plan(groups)
    slices = [piece for group in groups for piece in group]
    for place, piece in enumerate(slices):
        anew = FileSlice.from_json(piece.to_json())
        assert plan.place_of(anew) == plan.place_of(anew, guess) == place
        assert place in plan.places(plan.number_at(place))
        assert piece in groups[plan.number_at(place)]
        assert plan.first_of_file(piece.file.name) == [each.file for each in slices].index(piece.file)
        file = piece.file
        for other in (
            replace(piece, stop=99),
            replace(piece, start=99),
            replace(piece, max_rows=1),
            replace(piece, file=InputFile(file.name, file.path, 10, "2", file.partitions)),
            replace(piece, file=InputFile(f"{file.name}z", file.path, 10, "1")),
            replace(piece, start="what a failing disk leaves"),  # type: ignore[arg-type]
        ):
            assert plan.place_of(other, guess) is None
