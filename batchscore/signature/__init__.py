"""The types to read with, and the verdict on a chunk: what a signature means for the columns of a file.

plan         which columns of a file a model gets, and in which types
conversion   a column to the signature's type (scalars; fromtext, momenttext, fromarrow, fromjson; nested, jsonvalues;
             sifting)
modelinput   typed columns to what predict takes: a frame, an array, a dict of arrays; by its full name, for it needs
             pandas, which the parent, reading headers and cutting files, is to do without
"""

from batchscore.signature.conversion import (
    check_typed,
    convert,
    convert_json,
    has_fixed_type,
    never_fits,
    parse_text,
    reading_type,
    sift,
    sift_json,
)
from batchscore.signature.fromjson import json_text
from batchscore.signature.fromtext import FALSE_VALUES, TRUE_VALUES
from batchscore.signature.jsonvalues import Number, native
from batchscore.signature.plan import ReadColumn, ReadPlan, names_without_header, plan_reading

__all__ = [
    "FALSE_VALUES",
    "TRUE_VALUES",
    "Number",
    "ReadColumn",
    "ReadPlan",
    "check_typed",
    "convert",
    "convert_json",
    "has_fixed_type",
    "json_text",
    "names_without_header",
    "native",
    "never_fits",
    "parse_text",
    "plan_reading",
    "reading_type",
    "sift",
    "sift_json",
]
