"""Throughput against workers, file size and rows per call."""

from __future__ import annotations
from collections.abc import Callable
from typing import Any

SWEEPS: dict[str, Callable[..., dict[str, Any]]] = {}
