"""Version numbers against the `packaging` library, the reference for PEP 440."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.versions import admits, allows, clauses

packaging_specifiers = pytest.importorskip("packaging.specifiers")

RELEASES = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda numbers: ".".join(map(str, numbers)))
CLAUSES = st.one_of(
    st.builds("{}{}".format, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), RELEASES),
    st.builds("{}{}.*".format, st.sampled_from(["==", "!="]), RELEASES),
    st.builds("~={}.{}".format, st.integers(0, 3), st.integers(0, 3)),
    st.builds("~={}.{}.{}".format, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
)
SPECIFIERS = st.lists(CLAUSES, max_size=3).map(",".join)


@given(SPECIFIERS, RELEASES)
def test_releases_meet_specifiers_as_packaging_says(specifier, version):
    assert allows(specifier, version) == packaging_specifiers.SpecifierSet(specifier).contains(version)


@given(SPECIFIERS, RELEASES)
def test_a_version_that_fits_is_admitted(specifier, lowest):
    """Whatever packaging finds among many versions, admits knows of; what it denies isn't among them."""
    reference = packaging_specifiers.SpecifierSet(specifier)
    floor = packaging_specifiers.SpecifierSet(f">={lowest}")
    versions = [f"{a}.{b}.{c}.{d}" for a in range(5) for b in range(5) for c in range(5) for d in (0, 1)]
    found = any(reference.contains(version) and floor.contains(version) for version in versions)
    assert admits(specifier, lowest) == found


@pytest.mark.parametrize(
    ("specifier", "version", "fits"),
    [
        ("==2.1", "2.1+cpu", True),
        (">=2.0", "2.0rc1", False),
        (">2.0", "2.0.post1", True),
        ("==2.0rc1", "2.0", False),
        ("", "anything", True),
    ],
)
def test_other_versions_are_ordered_round_their_release(specifier, version, fits):
    assert allows(specifier, version) is fits


@pytest.mark.parametrize("text", ["=1.2", "1.2", ">=", "==one"])
def test_what_is_no_specifier_is_refused(text):
    with pytest.raises(ValueError, match="not a version requirement"):
        clauses(text)
