"""Image reading: arrays in the tensor's shape and dtype, and refusals for what can't be one."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from batchscore import readers
from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice, InputFile
from batchscore.schema import ColumnSpec, Schema, TensorSpec
from batchscore.settings import CsvOptions, ScoringSettings

Image = pytest.importorskip("PIL.Image", reason="Pillow is an extra")

COLOURS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
"""4 high, 6 wide."""
GREY = COLOURS[..., 0]


@pytest.fixture
def saved(tmp_path):
    """Saves pixels, an image or bytes, and describes the file."""

    def save(content, name: str = "x.png", partitions=(), **options) -> InputFile:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            image = Image.fromarray(content) if isinstance(content, np.ndarray) else content
            image.save(path, **options)
        return InputFile(name, str(path), path.stat().st_size, "1", partitions)

    return save


def tensor(*shape: int, dtype: str = "uint8", name: str | None = None) -> Schema:
    return Schema(tensors=(TensorSpec(name, dtype, shape),))


def read(file: InputFile, schema: Schema | None = None, **options) -> readers.Chunk:
    (chunk,) = readers.read(FileSlice(file), schema, ScoringSettings(**options))
    return chunk


def refusal(file: InputFile, schema: Schema | None = None, **options) -> str:
    with pytest.raises(FileRefused) as caught:
        read(file, schema, **options)
    return caught.value.reason


@pytest.mark.parametrize("name", ["x.png", "X.PNG", "x.tiff", "x.tif", "x.bmp"])
def test_an_image_is_one_row_of_its_pixels(saved, name):
    """Without a signature the array is Pillow's; the file is one row without columns."""
    file = saved(COLOURS, name, format=name[2:].upper().replace("TIF", "TIFF").replace("TIFFF", "TIFF"))
    chunk = read(file)
    assert (chunk.rows, chunk.first_row, chunk.kept.num_columns) == (1, 0, 0)
    assert chunk.features.dtype == np.uint8
    assert np.array_equal(chunk.features, COLOURS)
    assert readers.count_rows(file, CsvOptions()) == 1
    assert readers.columns(file, CsvOptions()) == []
    assert readers.cut(file, 1, CsvOptions()) == (FileSlice(file),)


@pytest.mark.parametrize("name", ["x.jpg", "x.jpeg", "x.JPG"])
def test_jpeg_is_read_as_pillow_reads_it(saved, name):
    """What is compound with loss comes as Pillow decodes it."""
    file = saved(COLOURS, name, format="JPEG")
    assert np.array_equal(read(file).features, np.array(Image.open(file.path)))


def test_the_suffix_does_not_decide_the_format(saved):
    """A PNG named .jpg is read."""
    assert np.array_equal(read(saved(COLOURS, "x.jpg", format="PNG")).features, COLOURS)


@pytest.mark.parametrize(
    ("pixels", "shape", "expected"),
    [
        pytest.param(COLOURS, (-1, 4, 6, 3), COLOURS[None], id="a batch of one"),
        pytest.param(COLOURS, (-1, -1, -1, 3), COLOURS[None], id="any size"),
        pytest.param(COLOURS, (1, 4, 6, 3), COLOURS[None], id="a batch of one stated"),
        pytest.param(COLOURS, (4, 6, 3), COLOURS, id="without a batch"),
        pytest.param(COLOURS, (-1, -1, 3), COLOURS, id="any size without a batch"),
        pytest.param(COLOURS, (-1, 3, 4, 6), np.moveaxis(COLOURS, -1, 0)[None], id="channels first"),
        pytest.param(COLOURS, (-1, 3, -1, -1), np.moveaxis(COLOURS, -1, 0)[None], id="channels first, any size"),
        pytest.param(COLOURS, (-1, 72), COLOURS.reshape(1, 72), id="flat"),
        pytest.param(GREY, (-1, 4, 6), GREY[None], id="grey"),
        pytest.param(GREY, (-1, 24), GREY.reshape(1, 24), id="grey, flat"),
        pytest.param(GREY, (-1, 4, 6, 1), GREY[None, ..., None], id="grey with a channel"),
        pytest.param(GREY, (-1, -1, -1, 1), GREY[None, ..., None], id="grey with a channel, any size"),
        pytest.param(GREY, (-1, 1, 4, 6), GREY[None, None], id="grey, channel first"),
        pytest.param(GREY, (-1, 4, 6, 3), np.stack([GREY] * 3, -1)[None], id="grey as colours"),
        pytest.param(GREY, (-1, 72), np.stack([GREY] * 3, -1).reshape(1, 72), id="grey as colours, flat"),
        pytest.param(GREY, (-1, -1, -1), GREY[None], id="three open dimensions of a grey image"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_the_array_has_the_tensors_shape_and_dtype(saved, pixels, shape, expected, dtype):
    """Values stay as they are: nothing is scaled."""
    found = read(saved(pixels), tensor(*shape, dtype=dtype)).features
    assert found.dtype == np.dtype(dtype)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_a_named_tensor_comes_by_its_name(saved):
    """As MLflow asks for it."""
    found = read(saved(COLOURS), tensor(-1, -1, -1, 3, name="pixels")).features
    assert list(found) == ["pixels"]
    assert found["pixels"].shape == (1, 4, 6, 3)


def test_colours_become_grey_where_the_tensor_has_one_channel_or_none(saved):
    """By Pillow's weights."""
    grey = np.array(Image.fromarray(COLOURS).convert("L"))
    assert np.array_equal(read(saved(COLOURS), tensor(-1, 4, 6)).features, grey[None])
    assert np.array_equal(read(saved(COLOURS), tensor(-1, 4, 6, 1)).features, grey[None, ..., None])


def test_alpha_is_dropped_or_added_as_the_tensor_asks(saved):
    """Dropped without blending; added opaque."""
    alpha = np.concatenate([COLOURS, np.full((4, 6, 1), 7, np.uint8)], -1)
    assert np.array_equal(read(saved(alpha)).features, alpha)
    assert np.array_equal(read(saved(alpha), tensor(-1, -1, -1, 3)).features, COLOURS[None])
    assert (read(saved(COLOURS), tensor(-1, 4, 6, 4)).features[..., 3] == 255).all()


def test_palettes_bilevel_and_cmyk_come_as_colours_and_grey(saved):
    """What is in the array are colours, not indices."""
    palette = Image.fromarray(COLOURS).quantize(16)
    assert np.array_equal(read(saved(palette)).features, np.array(palette.convert("RGB")))
    assert read(saved(palette, transparency=0)).features.shape == (4, 6, 4)
    bilevel = Image.fromarray(GREY > 30)
    assert set(np.unique(read(saved(bilevel)).features)) == {0, 255}
    assert read(saved(Image.fromarray(COLOURS).convert("CMYK"), "x.tif")).features.shape == (4, 6, 3)


def test_sixteen_bits_stay_and_are_refused_where_they_do_not_fit(saved):
    """No value is cut off in silence."""
    deep = GREY.astype(np.uint16) * 300
    for name in ("x.png", "x.tiff"):
        file = saved(deep, name)
        assert np.array_equal(read(file).features, deep)
        assert np.array_equal(read(file, tensor(-1, 4, 6, dtype="float32")).features[0], deep)
        assert np.array_equal(read(file, tensor(-1, 4, 6, 3, dtype="int32")).features[0, ..., 2], deep)
        assert "values from 0 to" in refusal(file, tensor(-1, 4, 6))


@pytest.mark.parametrize(
    "shape", [(-1, 6, 4, 3), (-1, 2, 12), (-1, 3, 6, 4), (-1, 5, 6, 3), (-1, 4, 6, 2), (-1, 25), (2, 4, 6, 3)]
)
def test_another_shape_is_refused_naming_both(saved, shape):
    """A portrait isn't read as a landscape, although it has as many pixels."""
    reason = refusal(saved(COLOURS), tensor(*shape))
    assert "(4, 6, 3)" in reason
    assert str(shape) in reason


def test_signatures_that_no_image_fits_are_refused(saved):
    """Columns, several tensors, texts."""
    file = saved(COLOURS)
    assert "asks for columns" in refusal(file, Schema(columns=(ColumnSpec("a", "double"),)))
    two = Schema(tensors=(TensorSpec("a", "uint8", (-1, 4)), TensorSpec("b", "uint8", (-1, 4))))
    assert "asks for 2 tensors" in refusal(file, two)
    assert "gives numbers" in refusal(file, tensor(-1, dtype="str"))


def test_the_first_frame_is_read_with_a_note(saved):
    """Of an animation and of a document of several pages."""
    frames = [Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)]
    for name in ("x.gif", "x.tiff"):
        chunk = read(saved(frames[0], name, save_all=True, append_images=frames[1:]))
        assert np.array_equal(
            chunk.features, COLOURS if name == "x.tiff" else np.array(frames[0].quantize().convert("RGB"))
        )
        assert chunk.notes == ("of images with several frames or pages the first was read",)


def test_the_orientation_is_not_applied_and_noted(saved):
    """The pixels are those that numpy gets of Pillow."""
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = read(saved(COLOURS, "x.png", exif=exif))
    assert np.array_equal(chunk.features, COLOURS)
    assert "orientation" in chunk.notes[0]
    assert read(saved(COLOURS)).notes == ()


def test_partitions_are_kept_and_columns_are_refused(saved):
    """An image has no columns of its own."""
    file = saved(COLOURS, partitions=(("day", "1"),))
    assert read(file, keep=("day",)).kept.to_pydict() == {"day": ["1"]}
    assert "columns to keep are missing: 'id'" in refusal(file, keep=("id",))


def test_damaged_images_are_refused(saved):
    """Cut short, empty, of another format, text."""
    whole = io.BytesIO()
    Image.fromarray(COLOURS).resize((64, 64)).save(whole, "JPEG")
    assert "is it complete?" in refusal(saved(whole.getvalue()[:400], "x.jpg"))
    assert "found no image of the types PNG" in refusal(saved(b"", "x.png"))
    assert "found no image" in refusal(saved(b"a,b\n1,2\n", "x.bmp"))
    foreign = io.BytesIO()
    Image.fromarray(COLOURS).save(foreign, "PPM")
    assert "found no image" in refusal(saved(foreign.getvalue()))


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(saved):
    """A small file that states 20,000 x 20,000 pixels."""

    def block(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(b"\0" * 99)) + block(b"IEND", b"")
    )
    assert f"more than {Image.MAX_IMAGE_PIXELS:,} pixels" in refusal(saved(bomb))
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(b"\0" * 99)) + block(b"IEND", b"")
    )
    assert "pixels" in refusal(saved(bomb))


def test_without_pillow_the_reason_says_what_to_install(saved, monkeypatch):
    """The file fails, and the others go on."""
    file = saved(COLOURS)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    assert "batchscore[images]" in refusal(file)


@profile(max_examples=150)
@given(
    st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF"]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
    st.integers(0, 2000),
)
def test_no_bytes_raise_anything_but_a_refusal(tmp_path_factory, kind, changes, cut):
    """Files damaged anywhere."""
    whole = io.BytesIO()
    Image.fromarray(COLOURS).save(whole, kind)
    content = bytearray(whole.getvalue())
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / f"fuzzed.{kind.lower()}"
    path.write_bytes(content[: max(cut, 1)])
    with contextlib.suppress(FileRefused):
        read(InputFile(path.name, str(path), path.stat().st_size, "1"))


MODEL = """
import mlflow.pyfunc
import pandas as pd

class Mean(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        assert model_input.dtype == "float32" and model_input.shape[3] == 3, (model_input.dtype, model_input.shape)
        width = [model_input.shape[2]] * len(model_input)
        return pd.DataFrame({"mean": model_input.mean(axis=(1, 2, 3)), "width": width})

mlflow.models.set_model(Mean())
"""


def test_a_folder_of_images_is_scored_with_a_real_model(save_model, run_batchscore, tmp_path):
    """One row a file, in the order of the names; a damaged one fails alone."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema as MlflowSchema
    from mlflow.types import TensorSpec as MlflowTensorSpec

    signature = ModelSignature(MlflowSchema([MlflowTensorSpec(np.dtype("float32"), (-1, -1, -1, 3))]))
    folder = tmp_path / "images"
    folder.mkdir()
    for name, pixels in {"a.png": COLOURS, "b.jpg": COLOURS[:, :3], "c.bmp": GREY}.items():
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name)
    (folder / "broken.gif").write_bytes(b"GIF89a")
    done = run_batchscore(
        "run", "-m", save_model(MODEL, signature), "-i", folder, "-o", tmp_path / "out", "--error-threshold", "1"
    )
    assert done.returncode == 0, done.stderr
    frame = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert frame["file"].tolist() == ["a.png", "b.jpg", "c.bmp"]
    assert frame["row"].tolist() == [0, 0, 0]
    assert frame["width"].tolist() == [6, 3, 6]
    assert frame["mean"].iloc[[0, 2]].tolist() == pytest.approx([COLOURS.mean(), GREY.mean()])
    assert "broken.gif" in (tmp_path / "out" / "failures.jsonl").read_text()
