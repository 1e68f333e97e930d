"""Packages made here, in a folder that uv takes for an index: environments of them take moments and no network."""

from __future__ import annotations

import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = (), code: str = "") -> Path:
    """A package of one empty module."""
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-py3-none-any.whl"
    info = f"{module}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}.py", code or f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def small_index(folder: Path) -> Path:
    """The folder, with numpy 1.26 and 2.3, pyarrow 25 and 26, pandas, mlflow-skinny and setuptools, in name only."""
    folder.mkdir()
    for name, version in [
        ("numpy", "1.26.4"), ("numpy", "2.3.0"), ("pyarrow", "25.0.0"), ("pyarrow", "26.0.0"), ("pandas", "2.3.3"),
        ("mlflow-skinny", "3.4.0"), ("setuptools", "80.0.0"),
    ]:  # fmt: skip
        wheel(folder, name, version)
    wheel(folder, "needs-old-numpy", "1.0", ("numpy<2",))
    return folder
