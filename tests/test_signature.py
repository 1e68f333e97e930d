"""Which columns a model gets, from any file."""

from __future__ import annotations

import pytest

from batchscore.errors import FileRefused
from batchscore.schema import Schema, TensorSpec
from batchscore.settings import ScoringSettings
from batchscore.signature import names_without_header, plan_reading

NAMED = Schema.from_json(
    [
        {"name": "age", "type": "long"},
        {"name": "city", "type": "string"},
        {"name": "income", "type": "double", "required": False},
    ]
)
UNNAMED = Schema.from_json([{"type": "long"}, {"type": "string"}])
PLAIN = ScoringSettings()


def tensor(*shape, dtype="float32", name=None) -> Schema:
    return Schema.from_json([{"name": name, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}])


def sources(schema, header, settings=PLAIN, partitions=()) -> list[tuple[str, int]]:
    return [(each.source, each.position) for each in plan_reading(schema, header, settings, partitions).features]


def refusal(schema, header, settings=PLAIN, partitions=()) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        plan_reading(schema, header, settings, partitions)
    return caught.value


def test_columns_come_in_the_models_order_and_others_arent_read():
    plan = plan_reading(NAMED, ["x", "income", "city", "age"], PLAIN)
    assert [(each.source, each.position, each.name) for each in plan.features] == [
        ("age", 3, "age"),
        ("city", 2, "city"),
        ("income", 1, "income"),
    ]
    assert tuple(each.spec for each in plan.features) == NAMED.columns
    assert plan.notes == ()


def test_a_missing_optional_column_is_absent():
    assert sources(NAMED, ["city", "age"]) == [("age", 1), ("city", 0)]


def test_a_missing_required_column_is_refused_with_what_is_there_and_what_is_similar():
    refused = refusal(NAMED, ["Age", "ctiy", "z"])
    for part in ("'age', 'city'", "'Age', 'ctiy', 'z'", "--rename Age=age", "--rename ctiy=city"):
        assert part in refused.reason
    assert refused.column == "age"


def test_duplicate_names_are_refused_naming_them():
    assert "'b'" in refusal(NAMED, ["age", "b", "city", "b"]).reason
    assert "'b'" in refusal(None, ["b", "b"]).reason


def test_names_match_without_the_spaces_around_them_and_say_so():
    plan = plan_reading(NAMED, [" age", "city "], PLAIN)
    assert [(each.source, each.name) for each in plan.features] == [(" age", "age"), ("city ", "city")]
    assert len(plan.notes) == 2
    assert "' age'" in plan.notes[0]


def test_spaces_in_the_models_names_dont_matter_either():
    schema = Schema.from_json([{"name": " age", "type": "long"}])
    assert sources(schema, ["age"]) == [("age", 0)]


def test_an_exact_name_goes_before_one_with_spaces():
    assert sources(NAMED, [" age", "age", "city"])[0] == ("age", 1)


def test_names_that_differ_in_spaces_only_are_refused():
    assert "' age', 'age '" in refusal(NAMED, [" age", "age ", "city"]).reason


def test_renaming_comes_first():
    settings = ScoringSettings(rename=(("years", "age"), ("city", "town"), ("place", "city")))
    assert sources(NAMED, ["years", "city", "place"], settings) == [("years", 0), ("place", 2)]


def test_renaming_to_a_name_that_is_there_is_refused():
    assert "'age'" in refusal(NAMED, ["years", "age", "city"], ScoringSettings(rename=(("years", "age"),))).reason


def test_partition_columns_fill_what_the_file_lacks():
    plan = plan_reading(NAMED, ["age"], PLAIN, [("city", "Ulm"), ("year", "2026")])
    assert [(each.source, each.position) for each in plan.features] == [("age", 0), ("city", -1)]
    assert plan.partitions == (("city", "Ulm"), ("year", "2026"))


def test_the_files_own_column_goes_before_a_partition_column_of_its_name():
    plan = plan_reading(NAMED, ["age", "city"], PLAIN, [("city", "Ulm")])
    assert plan.features[1].position == 1
    assert plan.partitions == ()


def test_kept_columns_are_found_as_written_or_without_spaces():
    settings = ScoringSettings(keep=("id", "year"), rename=(("id", "key"),))
    plan = plan_reading(NAMED, ["age", "city", " id"], settings, [("year", "2026")])
    assert plan.kept == (" id", "year")


def test_a_missing_kept_column_is_refused():
    refused = refusal(NAMED, ["age", "city", "ID"], ScoringSettings(keep=("id",)))
    assert "'id'" in refused.reason
    assert "'ID'" in refused.reason


def test_keeping_all_wants_the_same_columns_in_every_file():
    settings = ScoringSettings(keep=("age", "city", "z"), keep_all=True)
    assert plan_reading(NAMED, ["z", "city", "age"], settings).kept == ("age", "city", "z")
    assert "'more'" in refusal(NAMED, ["z", "city", "age", "more"], settings).reason
    assert "'z'" in refusal(NAMED, ["city", "age"], settings).reason


def test_without_names_columns_count_by_position():
    plan = plan_reading(UNNAMED, ["b", "a"], PLAIN)
    assert [(each.source, each.name) for each in plan.features] == [("b", "b"), ("a", "a")]
    assert tuple(each.spec for each in plan.features) == UNNAMED.columns


def test_without_names_kept_columns_are_left_out_where_the_number_fits_so():
    assert sources(UNNAMED, ["id", "b", "a"], ScoringSettings(keep=("id",))) == [("b", 1), ("a", 2)]
    assert sources(UNNAMED, ["b", "a"], ScoringSettings(keep=("b",))) == [("b", 0), ("a", 1)]


def test_without_names_a_wrong_number_is_refused_with_both_numbers():
    refused = refusal(UNNAMED, ["id", "b", "a", "z"], ScoringSettings(keep=("id",)))
    assert "4 columns, 3 beside" in refused.reason
    assert "has 2" in refused.reason
    everything = ScoringSettings(keep=("id", "b", "a"), keep_all=True)
    assert "3 columns;" in refusal(UNNAMED, ["id", "b", "a"], everything).reason


def test_partition_columns_count_by_position_where_the_files_own_are_too_few():
    partitions = [("year", "2026")]
    assert sources(UNNAMED, ["b", "a"], PLAIN, partitions) == [("b", 0), ("a", 1)]
    assert sources(UNNAMED, ["b"], PLAIN, partitions) == [("b", 0), ("year", -1)]


def test_without_a_signature_every_column_is_a_feature():
    plan = plan_reading(None, ["b", "a"], ScoringSettings(keep=("b",)), [("year", "2026")])
    assert [(each.source, each.spec) for each in plan.features] == [("b", None), ("a", None), ("year", None)]
    assert plan.kept == ("b",)


@pytest.mark.parametrize(("shape", "width"), [((-1,), 1), ((-1, 1), 1), ((-1, 3), 3), ((-1, 2, 3), 6), ((-1, -1), 4)])
def test_an_unnamed_tensor_takes_as_many_columns_as_a_row_has_items(shape, width):
    header = [f"c{number}" for number in range(width)]
    plan = plan_reading(tensor(*shape), header, PLAIN)
    assert [each.source for each in plan.features] == header
    assert {each.spec for each in plan.features} == {TensorSpec(None, "float32", (-1,))}
    assert len(sources(tensor(*shape), ["id", *header], ScoringSettings(keep=("id",)))) in (width, width + 1)


def test_a_tensor_of_one_column_takes_lists():
    plan = plan_reading(tensor(-1, 2, 3), ["image"], PLAIN)
    assert plan.features[0].spec == TensorSpec(None, "float32", (-1, 2, 3))


def test_a_wrong_number_of_columns_for_a_tensor_is_refused_with_both_numbers():
    refused = refusal(tensor(-1, 2, 3), ["a", "b"])
    assert "2 columns" in refused.reason
    assert "has 6" in refused.reason


@pytest.mark.parametrize(
    "schema",
    [
        tensor(5, 2),
        tensor(-1, -1, 2),
        tensor(-1, dtype="complex64"),
        tensor(-1, -1, name="a"),
        tensor(3, name="a"),
        tensor(),
    ],
)
def test_tensors_that_rows_cant_give_are_refused(schema):
    assert "can't give" in refusal(schema, ["a", "b"]).reason


def test_named_tensors_are_matched_like_columns():
    plan = plan_reading(tensor(-1, 4, name="a"), ["b", " a"], PLAIN)
    assert [(each.source, each.name) for each in plan.features] == [(" a", "a")]
    assert "'a'" in refusal(tensor(-1, 4, name="a"), ["b"]).reason


def test_without_a_header_names_come_from_the_signature_where_the_number_fits():
    assert names_without_header(NAMED, 3) == ["age", "city", "income"]
    assert names_without_header(NAMED, 2) == ["0", "1"]
    assert names_without_header(UNNAMED, 2) == ["0", "1"]
    assert names_without_header(None, 1) == ["0"]
