"""Jobs on a file system that is too small, in a name space of their own: `unshare -rm python small_disk.py FOLDER`.

For each size in kilobytes (0: one that may only be read) an OUTPUT of that size is made (a tmpfs), the job is run, the
file system is made larger, and the same command is run again. What was found is printed as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def mount(size: int, place: Path, *, again: bool = False) -> None:
    options = f"{'remount,' if again else ''}{f'rw,size={size}k' if size else 'ro'}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)


def run(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def content(output: Path) -> dict[str, str]:
    files = [path for path in sorted(output.rglob("*")) if path.is_file()]
    return {path.relative_to(output).as_posix(): path.read_text("latin-1") for path in files}


def played(place: Path, command: list[str], size: int) -> dict[str, Any]:
    """What a job on a small disk came to, and the same command on a larger one."""
    mount(size, place)
    try:
        first, said = run(command)
        found = content(place)
        mount(64 << 10, place, again=True)
        second, more = run(command)
        result = content(place)
        mount(0, place, again=True)
        finished, _ = run(command) if not size else (None, "")
        return {"size": size, "code": first, "said": said, "found": found, "then": second, "more": more,
                "result": result, "finished": finished}  # fmt: skip
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def main() -> None:
    place, command, sizes = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
    place.mkdir(exist_ok=True)
    print(json.dumps([played(place, command, size) for size in sizes]))


if __name__ == "__main__":
    main()
