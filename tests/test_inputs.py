"""Which files are found, under which names, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from batchscore.errors import UsageError
from batchscore.inputs import Listing, Selection, list_inputs

pytestmark = pytest.mark.usefixtures("pages")


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a\n1\n")
    return root


def listed(*inputs: Path | str, output: Path | str = "/nowhere", **narrowing: Any) -> Listing:
    return list_inputs(tuple(map(str, inputs)), Selection(str(output), **narrowing))


def names(listing: Listing) -> list[str]:
    return [file.name for file in listing.files]


def test_folders_are_searched_recursively_in_the_order_of_utf8_bytes(tmp_path: Path) -> None:
    make(tmp_path, "b.csv", "a/z.parquet", "a.csv", "Z.tsv", "é.csv.gz", "a-b/c.pqt", "zz.CSV.ZST")
    found = names(listed(tmp_path))
    assert found == ["Z.tsv", "a-b/c.pqt", "a.csv", "a/z.parquet", "b.csv", "zz.CSV.ZST", "é.csv.gz"]
    assert found == sorted(found, key=str.encode)


def test_hidden_files_and_folders_are_left_out_and_unsupported_ones_listed(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", ".b.csv", "_c.csv", ".d/e.csv", "_f/g.csv", "notes.txt", "sub/README", "x.json")
    listing = listed(tmp_path)
    assert names(listing) == ["a.csv"]
    assert [entry.file for entry in listing.skipped] == ["notes.txt", "sub/README", "x.json"]
    assert all("not supported" in entry.reason for entry in listing.skipped)


def test_a_file_named_explicitly_always_counts(tmp_path: Path) -> None:
    make(tmp_path, "_hidden.csv", "notes.txt")
    assert names(listed(tmp_path / "_hidden.csv", tmp_path / "notes.txt")) == ["_hidden.csv", "notes.txt"]


def test_the_output_inside_the_input_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "out/predictions.csv")
    assert names(listed(tmp_path, output=tmp_path / "out")) == ["a.csv"]


def test_hive_folders_give_decoded_columns(tmp_path: Path) -> None:
    make(tmp_path, "year=2026/city=S%C3%A3o%20Paulo/a.csv", "year=__HIVE_DEFAULT_PARTITION__/b.csv")
    partitions = {file.name: file.partitions for file in listed(tmp_path).files}
    assert partitions == {
        "year=2026/city=S%C3%A3o%20Paulo/a.csv": (("year", "2026"), ("city", "São Paulo")),
        "year=__HIVE_DEFAULT_PARTITION__/b.csv": (("year", None),),
    }


def test_globs_name_files_from_the_folder_before_the_first_wildcard(tmp_path: Path) -> None:
    make(tmp_path, "data/x/a.csv", "data/y/a.csv", "data/y/b.parquet", "data/y/.c.csv")
    assert names(listed(f"{tmp_path}/data/*/*.csv")) == ["x/a.csv", "y/a.csv"]
    assert names(listed(f"{tmp_path}/data/**")) == ["x/a.csv", "y/a.csv", "y/b.parquet"]
    assert names(listed(f"{tmp_path}/da*")) == ["data/x/a.csv", "data/y/a.csv", "data/y/b.parquet"]


def test_a_name_with_glob_characters_is_taken_as_it_is_where_it_exists(tmp_path: Path) -> None:
    make(tmp_path, "a[1].csv", "a1.csv")
    assert names(listed(tmp_path / "a[1].csv")) == ["a[1].csv"]


def test_two_files_of_one_name_are_refused_naming_both(tmp_path: Path) -> None:
    make(tmp_path, "x/a.csv", "y/a.csv")
    with pytest.raises(UsageError, match=r"name 'a\.csv'.*x/a\.csv and .*y/a\.csv"):
        listed(tmp_path / "x", tmp_path / "y")


def test_include_and_exclude_match_the_path_or_the_name(tmp_path: Path) -> None:
    make(tmp_path, "x/a.csv", "y/a.csv", "y/b.csv")
    assert names(listed(tmp_path, include=("a.*",))) == ["x/a.csv", "y/a.csv"]
    assert names(listed(tmp_path, exclude=("y/*",))) == ["x/a.csv"]
    assert names(listed(tmp_path, include=("*.csv",), exclude=("b.csv", "x/*"))) == ["y/a.csv"]


@pytest.mark.parametrize(
    ("made", "kind"),
    [("t/_delta_log/0.json", "Delta"), ("t/.hoodie/x", "Hudi"), ("t/metadata/v1.metadata.json", "Iceberg")],
)
def test_tables_whose_files_include_deleted_rows_are_refused(tmp_path: Path, made: str, kind: str) -> None:
    make(tmp_path, made, "t/a.parquet")
    with pytest.raises(UsageError, match=kind):
        listed(tmp_path)


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone isn't there"):
        listed(tmp_path / "gone")
    with pytest.raises(UsageError, match="matches nothing"):
        listed(f"{tmp_path}/*.csv")


def test_the_output_is_left_out_of_what_a_glob_matches(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "out/predictions.csv", "out/predictions/b.csv", "other/c.csv")
    assert names(listed(f"{tmp_path}/**/*.csv", output=tmp_path / "out")) == ["a.csv", "other/c.csv"]
    assert names(listed(f"{tmp_path}/*", output=tmp_path / "out")) == ["a.csv", "other/c.csv"]
    with pytest.raises(UsageError, match="lies in OUTPUT"):
        listed(f"{tmp_path}/out/*", output=tmp_path / "out")


def test_a_file_in_the_output_is_not_named_by_mistake(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "out/predictions/b.csv", "output.csv")
    with pytest.raises(UsageError, match=r"b\.csv lies in OUTPUT"):
        listed(tmp_path / "a.csv", tmp_path / "out/predictions/b.csv", output=tmp_path / "out")
    assert names(listed(tmp_path / "output.csv", output=tmp_path / "out")) == ["output.csv"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    make(tmp_path, "in/a.csv", "elsewhere/b.csv")
    (tmp_path / "in/there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/c.csv").symlink_to(tmp_path / "elsewhere/b.csv")
    assert names(listed(tmp_path / "in")) == ["a.csv", "c.csv", "there/b.csv"]


def test_a_broken_link_is_a_file_that_fails_alone(tmp_path: Path) -> None:
    make(tmp_path, "a.csv")
    (tmp_path / "b.csv").symlink_to(tmp_path / "gone.csv")
    (tmp_path / "c.csv").symlink_to("c.csv")
    assert names(listed(tmp_path)) == names(listed(f"{tmp_path}/*")) == ["a.csv", "b.csv", "c.csv"]


def test_a_broken_link_that_may_be_a_folder_is_not_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.csv")
    (tmp_path / "more").symlink_to(tmp_path / "not-mounted")
    for where in (tmp_path, f"{tmp_path}/*"):
        with pytest.raises(UsageError, match="more is a link to .*not-mounted, which isn't there"):
            listed(where)
        assert names(listed(where, exclude=("more",))) == ["a.csv"]


def test_pipes_are_skipped_in_a_folder_and_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path, "a.csv")
    os.mkfifo(tmp_path / "b.csv")
    listing = listed(tmp_path)
    assert names(listing) == ["a.csv"]
    assert [(entry.file, entry.reason) for entry in listing.skipped] == [("b.csv", "a pipe is not a file")]
    with pytest.raises(UsageError, match="b.csv is a pipe"):
        listed(tmp_path / "b.csv")


def test_a_glob_may_match_nothing_where_that_is_allowed(tmp_path: Path) -> None:
    assert names(listed(f"{tmp_path}/*.csv", allow_empty=True)) == []


def test_the_same_file_given_twice_is_told_as_such(tmp_path: Path) -> None:
    make(tmp_path, "a.csv")
    with pytest.raises(UsageError, match="a.csv is given twice"):
        listed(tmp_path, tmp_path / "a.csv")


def test_names_that_are_no_utf8_become_escapes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.csv")).write_text("a\n1\n")
    assert names(listed(tmp_path)) == ["caf\\xe9.csv"]


def test_file_urls_are_local(tmp_path: Path) -> None:
    make(tmp_path, "a.csv")
    assert names(listed(f"file://{tmp_path}")) == ["a.csv"]


def test_inputs_that_overlap_are_refused_so_that_no_row_is_scored_twice(tmp_path: Path) -> None:
    make(tmp_path, "x/a.csv", "b.csv")
    with pytest.raises(UsageError, match="found under two INPUTs, as 'a.csv' and as 'x/a.csv'"):
        listed(tmp_path / "x", tmp_path)
