"""Where predictions lie, packed and unpacked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchscore.outcome import Column, Quarantined
from batchscore.segments import Extra, Packing, Part, Segment

COUNTS = st.integers(0, 2**62)
PARTS = st.builds(
    Part,
    st.text(min_size=1),
    st.sampled_from([(), (Column("x", "double", "prediction"),), (Column("ü", "string", "kept"),)]),
    COUNTS,
    st.integers(0, 2**40),
)
SEGMENTS = st.builds(
    Segment,
    COUNTS,
    st.none() | PARTS,
    COUNTS,
    COUNTS,
    st.none() | st.builds(Extra, COUNTS, st.text(), COUNTS),
    st.none() | st.builds(Quarantined, COUNTS, st.text(), COUNTS, COUNTS, COUNTS),
)


@given(st.lists(SEGMENTS))
def test_a_segment_is_unpacked_as_it_was_packed(segments: list[Segment]) -> None:
    packing = Packing()
    packed = [packing.pack(segment) for segment in segments]
    assert [packing.unpack(each) for each in packed] == segments
    assert [packing.unpack(each) for each in reversed(packed)] == segments[::-1]


def test_what_has_predictions_alone_is_a_short_run_of_bytes() -> None:
    packed = Packing().pack(Segment(10_000, Part("000000-0123456789ab.csv", (), 1 << 40, 0), 0, 1 << 30))
    assert isinstance(packed, bytes)
    assert len(packed) < 64
