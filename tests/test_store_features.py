"""What a job can do does the same on a store: INPUT and OUTPUT there give the bytes that local folders give."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import RunHere
from stores import Shop
from uploaded import here, outputs

from batchscore.errors import UsageError
from batchscore.showing import look

pytestmark = pytest.mark.usefixtures("quick_retries")


def _parquet(numbers: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": [number / 7 for number in range(numbers)]}), sink, row_group_size=500)
    return sink.getvalue()


def _csv(numbers: int) -> bytes:
    return b"x,id\n" + b"".join(b"%d,k%d\n" % (number, number) for number in range(numbers))


@pytest.fixture
def both(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], None]:
    """Puts a file at a path below the folder of this test and below the bucket."""
    monkeypatch.setenv("BATCHSCORE_CACHE", str(tmp_path / "cache"))

    def put(name: str, content: bytes) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        shop.put(name, content)

    return put


FEATURES: dict[str, tuple[dict[str, bytes], dict[str, Any]]] = {
    "jsonl, and columns that are kept and added": (
        {"in/a b.csv": _csv(3), "in/é.csv": _csv(2)},
        {"format": "jsonl", "keep": "id", "add": {"day": "{date}"}, "date": "2026-11-03"},
    ),
    "Hive folders, a file of each, and a filter": (
        {"in/year=2026/m=1/x.csv": _csv(3), "in/year=2025/m=2/x.parquet": _parquet(4), "in/year=2025/no.csv": b"y\n"},
        {"output_files": "mirror", "keep": "year", "exclude": "**/no.csv", "format": "parquet"},
    ),
    "layout azure": ({"in/a.csv": _csv(3), "in/b/c.csv": _csv(2)}, {"layout": "azure"}),
    "big files by ranges, in parts": (
        {"in/big.csv": _csv(30_000), "in/big.parquet": _parquet(4_000)},
        {"mini_batch_size": "64KB", "output_files": "parts", "rows_per_call": 900},
    ),
    "bad rows and bad files": (
        {"in/a.csv": b"x,id\n1,a\nno,b\n3,c\n", "in/bad.csv": b"y\n1\n"},
        {"on_bad_row": "quarantine", "error_threshold": 1},
    ),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_on_a_store_as_here(
    shop: Shop, run_here: RunHere, twice: Path, both: Callable[[str, bytes], None], tmp_path: Path, feature: str
) -> None:
    """OUTPUT lies in INPUT, and its address has a day; what is finished is finished for the second run."""
    files, options = FEATURES[feature]
    for name, content in files.items():
        both(name, content)
    where = {"inputs": "{root}/in", "output": "{root}/in/scored/{date}"}
    day = options.get("date", "2026-01-02")
    kinds = {}
    for root in (str(tmp_path), shop.url):
        places = [text.replace("{root}", root) for text in where.values()]
        again = {**options, "date": day}
        first = run_here(twice, *places, **again)
        assert first.status == "Completed", first.message
        assert not run_here(twice, *places, **again).is_fresh
        shown = look(f"{root}/in/scored/{day}")
        kinds[root] = (first.counts, shown.status, shown.counts)
    assert kinds[shop.url] == kinds[str(tmp_path)]
    there = outputs(shop.content(), f"in/scored/{day}/")
    assert there == here(tmp_path, f"in/scored/{day}")
    assert len(there) > 1


def test_a_mirror_that_is_resumed_and_overwritten_has_the_files_of_its_inputs(
    shop: Shop, run_here: RunHere, twice: Path, both: Callable[[str, bytes], None], tmp_path: Path
) -> None:
    """Inputs that changed, came and went; a finished job whose inputs changed is another one."""
    for name, content in {"in/a.csv": _csv(2), "in/b/c.csv": _csv(3), "in/bad.csv": b"y\n1\n"}.items():
        both(name, content)
    options = {"output_files": "mirror", "mini_batch_size": 1}
    assert run_here(twice, f"{shop.url}/in", f"{shop.url}/out", **options).status == "Failed"
    shop.delete("in/b/c.csv")
    (tmp_path / "in/b/c.csv").unlink()
    for name, content in {"in/a.csv": _csv(5), "in/bad.csv": _csv(1), "in/new.csv": _csv(4)}.items():
        both(name, content)
    assert run_here(twice, f"{shop.url}/in", f"{shop.url}/out", **options).status == "Completed"
    run_here(twice, tmp_path / "in", tmp_path / "out", **options)
    assert outputs(shop.content()) == here(tmp_path)

    shop.delete("in/new.csv")
    (tmp_path / "in/new.csv").unlink()
    for inputs, output in ((f"{shop.url}/in", f"{shop.url}/out"), (tmp_path / "in", tmp_path / "out")):
        with pytest.raises(UsageError, match="holds another job, a finished job: the inputs changed since"):
            run_here(twice, inputs, output, **options)
        assert run_here(twice, inputs, output, overwrite=True, **options).status == "Completed"
    assert outputs(shop.content()) == here(tmp_path)
    assert "predictions/new.csv.csv" not in outputs(shop.content())
