"""Single figures that were set as goals: memory, many mini-batches, --help."""

from __future__ import annotations
from collections.abc import Callable
from typing import Any

FIGURES: dict[str, Callable[..., dict[str, Any]]] = {}
