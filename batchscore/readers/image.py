"""Images: one row each, an array of the shape and dtype of the model's tensor.

Pillow reads them, from the extra `batchscore[images]`. Palettes are looked up and CMYK, YCbCr and the like become RGB;
beyond that the array has the image's own channels and values (bilevel as 0 and 255, 16 bits as they are), unless the
tensor asks for 1, 3 or 4 channels. Values aren't scaled. The orientation in EXIF isn't applied, as numpy and the usual
training pipelines don't. Of several frames or pages the first counts.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batchscore.errors import FileRefused, StorageError
from batchscore.minibatch import FileSlice
from batchscore.readers.chunks import Chunk, Refuse
from batchscore.readers.source import opened
from batchscore.schema import TENSOR_BYTES
from batchscore.signature import plan_reading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pyarrow as pa

    from batchscore.minibatch import InputFile
    from batchscore.schema import Schema, TensorSpec
    from batchscore.settings import CsvOptions, ScoringSettings

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
"""Whatever the suffix says: a PNG named .jpg is common. Pillow's other formats start programs, among other things."""
_OWN_MODES = {"L", "LA", "RGB", "RGBA", "F"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""By the number of channels that a tensor may ask for."""
_ORIENTATION = 0x0112
"""EXIF's tag."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """An image with palettes looked up and foreign colour spaces made RGB."""

    image: Any
    """Pillow's."""
    array: np.ndarray
    """Its pixels: (height, width), or (height, width, channels)."""
    notes: tuple[str, ...]


def read(
    piece: FileSlice, schema: Schema | None, settings: ScoringSettings, refuse: Refuse | None = None
) -> Iterator[Chunk]:
    """One chunk of one row; none where that is refused, because the image doesn't fit the model's tensor."""
    import pyarrow as pa

    spec = _spec(schema)
    plan = plan_reading(None, (), settings, piece.file.partitions)
    partitions = dict(piece.file.partitions)
    decoded = _read(piece.file)
    try:
        array = decoded.array if spec is None else _fitted(decoded, spec)
    except FileRefused as refusal:
        if refuse is None:
            raise
        refuse(FileRefused(refusal.reason, row=0))
        return
    features: Any = array if spec is None or spec.name is None else {spec.name: array}
    kept: pa.Table = pa.table({name: pa.array([partitions[name]], pa.string()) for name in plan.kept})
    yield Chunk(piece, 0, 1, features, kept, (*plan.notes, *decoded.notes))


def record_texts(piece: FileSlice, rows: Collection[int], csv: CsvOptions) -> dict[int, str]:  # noqa: ARG001  # as for CSV
    """None: an image has no text."""
    return {}


def columns(file: InputFile, csv: CsvOptions, schema: Schema | None = None) -> list[str]:  # noqa: ARG001  # as for CSV
    """None: an image has no columns."""
    return []


def cut(file: InputFile, size: int, csv: CsvOptions, apart: int | None = None) -> tuple[FileSlice, ...]:  # noqa: ARG001  # as for CSV
    """The whole file."""
    return (FileSlice(file),)


def count_rows(file: InputFile, csv: CsvOptions, most: int | None = None) -> int:  # noqa: ARG001  # as for CSV
    """One."""
    return 1


def _spec(schema: Schema | None) -> TensorSpec | None:
    """The one tensor that an image gives; FileRefused where the signature asks for something else."""
    if schema is None:
        return None
    if len(schema.tensors) != 1:
        asked = f"{len(schema.tensors)} tensors" if schema.tensors else "columns"
        raise FileRefused(
            f"the model's signature asks for {asked}, and an image gives one tensor; "
            "log the model with the signature of a single tensor"
        )
    spec = schema.tensors[0]
    if spec.dtype not in TENSOR_BYTES or spec.dtype in ("str", "object"):
        raise FileRefused(f"the model's signature asks for a {spec}, and an image gives numbers")
    return spec


def _read(file: InputFile) -> _Decoded:
    """The image, its first frame; FileRefused for a damaged one, and for one of too many pixels."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise FileRefused(
            "reading an image needs Pillow, which isn't installed beside the model; "
            "install it with `pip install 'batchscore[images]'` or `pip install pillow`"
        ) from None
    with opened(file) as stored, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata that isn't read
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(stored, formats=FORMATS) as image:
                image.load()
                return _decoded(image)
        except (MemoryError, StorageError):
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise FileRefused(
                f"the image has more than {Image.MAX_IMAGE_PIXELS:,} pixels, Pillow's limit against files that "
                "would fill the memory; make it smaller, or cut it into tiles"
            ) from None
        except UnidentifiedImageError:
            raise FileRefused(f"found no image of the types {', '.join(FORMATS)}; is the file complete?") from None
        except Exception as error:  # of a damaged file Pillow raises OSError, SyntaxError, struct.error, IndexError …
            raise FileRefused(f"the image can't be read: {error or type(error).__name__}; is it complete?") from error


def _decoded(image: Any) -> _Decoded:
    own = image
    if image.mode in ("P", "PA"):
        own = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode == "1":
        own = image.convert("L")
    elif image.mode not in _OWN_MODES and not image.mode.startswith("I"):
        own = image.convert("RGBA" if image.mode in ("RGBa", "La") else "RGB")
    notes = []
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a camera's previews
        notes.append("of images with several frames or pages the first was read")
    if image.getexif().get(_ORIENTATION, 1) != 1:
        notes.append(
            "the orientation that EXIF states wasn't applied to images; rotate them before if the model needs it"
        )
    array = np.array(own)
    return _Decoded(own, array.astype(array.dtype.newbyteorder("="), copy=False), tuple(notes))


def _fitted(decoded: _Decoded, spec: TensorSpec) -> np.ndarray:
    """The image in the tensor's shape and dtype, as a batch of one; FileRefused naming both shapes.

    With its own channels where they fit, else with those that do. Channels come first where the tensor has them there.
    """
    stated = spec.shape
    is_first = len(stated) >= 3 and stated[-3] in _MODES and stated[-1] not in _MODES  # noqa: PLR2004  # two of pixels
    is_grey = decoded.array.ndim == 2  # noqa: PLR2004  # height and width
    for channels in (None, *((1, 3, 4) if is_grey else (3, 1, 4))):
        pixels = decoded.array if channels is None else _with_channels(decoded, channels)
        if is_first and pixels.ndim == 3:  # noqa: PLR2004  # as above
            pixels = np.moveaxis(pixels, -1, 0)
        shape = _shape_for(pixels.shape, stated)
        if shape is not None:
            return _cast(pixels, spec).reshape(shape)
    raise FileRefused(
        f"the image has the shape {decoded.array.shape} (height, width, channels), which doesn't fit a {spec}; "
        "resize the images to what the model takes"
    )


def _shape_for(found: tuple[int, ...], stated: tuple[int, ...]) -> tuple[int, ...] | None:
    """The tensor's shape with the image's sizes where they are open; None where the image doesn't fit.

    It fits where every size is the same, dimensions of 1 apart, and where the tensor is flat.
    """
    batch = (1, *found) if stated[:1] == (-1,) and len(stated) == len(found) + 1 else found
    if len(batch) == len(stated) and all(size in (-1, own) for size, own in zip(stated, batch, strict=True)):
        return batch
    target = (1, *stated[1:]) if stated[:1] == (-1,) else stated
    long = [size for size in target if size != 1]
    is_same = long == [size for size in found if size != 1]
    is_flat = len(long) == 1 and long[0] == math.prod(found)
    return target if is_same or is_flat else None


def _with_channels(decoded: _Decoded, channels: int) -> np.ndarray:
    """The image as (height, width, channels): a mean of colours by Pillow's weights, no alpha, or an opaque one."""
    array = decoded.array
    if array.dtype == np.uint8:
        array = np.array(decoded.image.convert(_MODES[channels]))
        return array if array.ndim == 3 else array[..., None]  # noqa: PLR2004  # height, width, channels
    grey = [array] * min(channels, 3)  # all other modes of Pillow have one channel
    most = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1
    return np.stack([*grey, np.full_like(array, most)] if channels == 4 else grey, axis=-1)  # noqa: PLR2004  # with alpha


def _cast(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The same values in the tensor's dtype; FileRefused where it doesn't hold them."""
    dtype = np.dtype(spec.dtype)
    if dtype == np.bool_:
        return array != 0
    with np.errstate(over="ignore", invalid="ignore"):
        cast: np.ndarray = array.astype(dtype)
    is_lost = bool(np.any(cast != array)) if dtype.kind in "iu" else bool(np.any(np.isinf(cast) & ~np.isinf(array)))
    if is_lost:
        raise FileRefused(
            f"the image has values from {array.min()} to {array.max()} ({array.dtype}), which a {spec} can't hold; "
            "convert the images to 8 bits, or log the model with another dtype"
        )
    return cast
