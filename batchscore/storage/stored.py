"""A file on a store, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """What a store says of a file: with its name, its identity."""

    size: int
    """Bytes."""
    version: str
    """Its etag or generation, else when it was last modified; empty where the store says none of these."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file below a folder."""

    name: str
    """Relative to the folder, with `/`."""
    path: str
    """Its address, without secrets."""
    facts: Facts
