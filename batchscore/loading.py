"""Waiting for a worker that loads the model: the facts about it, or why it isn't loaded."""

from __future__ import annotations

from batchscore import errors
from batchscore.channel import BadMessage, ChannelClosed, ChannelTimeout
from batchscore.child import Child, Outgrown, WorkerSpec
from batchscore.faults import ModelNotLoaded
from batchscore.minibatch import Json

OUT_OF_MEMORY = "; often the system's answer to a lack of memory: fewer workers need less"
LAST_WORDS = 1.0
"""Seconds that a process without a connection has to end by itself, so that its exit code can be told."""


def loaded(child: Child, spec: WorkerSpec) -> Json:
    """What a worker says that has loaded the model; raises ModelNotLoaded, or one of ``errors`` that ends the job."""
    limit = spec.load_timeout
    try:
        reply = child.channel.receive(limit)
    except ChannelTimeout:
        raise ModelNotLoaded(f"{spec.loads} wasn't loaded within {limit:g} s", child.stuck_frames()) from None
    except ChannelClosed:
        ending = child.ending(LAST_WORDS)
        if outgrown := child.outgrown:
            raise ModelNotLoaded(_too_big(outgrown, "while it loaded the model")) from None
        hint = OUT_OF_MEMORY if "SIGKILL" in ending else ""
        what = f"the worker {ending} while it loaded {spec.loads}{hint}"
        raise ModelNotLoaded(what, child.log_tail()) from None
    except BadMessage as error:
        raise ModelNotLoaded(f"the worker sent what is no message: {error}", child.log_tail()) from None
    match reply:
        case {"kind": "ready", "facts": dict()} | {"kind": "loaded", "doubts": list()}:
            if spec.memory_limit is not None:
                _refuse_big(child, spec.memory_limit)
            return reply
        case {"kind": "load_failed", "message": str(message), "traceback": str(traceback)}:
            raise ModelNotLoaded(message, traceback)
        case {"kind": "fatal", "error": str(name), "message": str(message)}:
            raise fatal(name, message)
        case _:
            raise ModelNotLoaded(f"the worker sent an unexpected message of kind {reply['kind']!r}")


def _refuse_big(child: Child, limit: int) -> None:
    """Raise ModelNotLoaded where the model alone is too big: no mini-batch is to blame."""
    held = child.resident(limit)
    if held > limit:
        when = "when it had loaded the model and nothing else"
        raise ModelNotLoaded(_too_big(Outgrown(held, limit, ""), when))


def _too_big(outgrown: Outgrown, when: str) -> str:
    return f"the worker {outgrown}, {when}; give a higher --memory-limit"


def fatal(name: str, message: str) -> errors.BatchscoreError:
    """The error that ends the job, by the name that a worker gives it."""
    kinds = {kind.__name__: kind for kind in (errors.UsageError, errors.ModelLoadError, errors.StorageError)}
    return kinds.get(name, errors.BatchscoreError)(message)
