"""JSON text to values, strictly: no repeated keys, no NaN, no lone surrogates, no endless nesting."""

from __future__ import annotations

import json
import re
from typing import Any

from batchscore.errors import FileRefused
from batchscore.signature import Number

MAX_DEPTH = 64
"""Of lists and objects within each other; numpy has as many dimensions at most."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Wrong(ValueError):
    """What JSON text may have elsewhere but not here."""


def parsed(text: bytes) -> Any:
    """The text's value, its numbers as they are written (``Number``); FileRefused with the reason.

    Where a row's number is known, the caller adds it.
    """
    try:
        value = _DECODER.decode(text.decode())
        _refuse_depth(text, value)
        if b"\\ud" in text.lower():
            _refuse_surrogates(value)
    except UnicodeDecodeError as error:
        raise FileRefused(f"found the byte 0x{text[error.start]:02x}, which isn't UTF-8; JSON is UTF-8") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"character {error.colno}"
        raise FileRefused(f"found JSON that ends or goes wrong at {place} ({error.msg}); is it complete?") from None
    except RecursionError:
        raise FileRefused(_too_deep()) from None
    except _Wrong as error:
        raise FileRefused(str(error)) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise _Wrong(f"found an object with the key {repeated!r} twice; expected each key once")
    return found


def _constant(word: str) -> Any:
    raise _Wrong(f"found {word}, which isn't JSON; write null for a missing value")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_constant)


def _too_deep() -> str:
    return f"found lists and objects nested more than {MAX_DEPTH} deep; expected JSON of rows"


def _refuse_depth(text: bytes, value: Any) -> None:
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise _Wrong(_too_deep())
        level = [
            part
            for node in level
            if type(node) in (list, dict)
            for part in (node if type(node) is list else node.values())
            if type(part) in (list, dict)
        ]


def _refuse_surrogates(value: Any) -> None:
    """Refuse half a character alone, which makes text that no file can hold."""
    if found := _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise _Wrong(f"found \\u{ord(found[0]):04x} alone, half a character; expected text")
