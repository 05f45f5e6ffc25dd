"""The KV cache of a prompt as bytes: evaluated once, and found again after the next load."""

from __future__ import annotations

import hashlib
import struct

from mlr.choosing import Chooser
from mlr.engines.base import Engine, Sampling
from mlr.errors import RequestError
from mlr.generation import check_prompt
from mlr.scheduler import Generation, Scheduler

__all__ = ["restore_prompt", "save_prompt"]

_DIGEST = 32  # bytes of SHA-256: of the model's identity and everything after it
_COUNT = struct.Struct("<I")


async def save_prompt(scheduler: Scheduler, identity: bytes, prompt: list[int]) -> bytes:
    """Evaluate a prompt, as far as it is not in the KV cache yet, and give what is there of it.

    A digest, the number of tokens, the tokens as little-endian uint32, what the engine gives.
    """
    generation = Generation(prompt, 1, Sampling(), Chooser(None, (), None))
    scheduler.submit(generation)
    try:
        await scheduler.next(generation)
        data = await scheduler.save(generation)
    finally:
        scheduler.release(generation)
    body = _COUNT.pack(len(prompt)) + struct.pack(f"<{len(prompt)}I", *prompt) + data
    return _digest(identity, body) + body


async def restore_prompt(
    scheduler: Scheduler, identity: bytes, saved: bytes, engine: Engine
) -> int:
    """Make a free sequence of `engine` what `save_prompt` gave; returns how many tokens it has.

    Raises `RequestError` for anything else than bytes of the same model, whole and unchanged, and
    `ContextLengthError` where they are too many.
    """
    body = saved[_DIGEST:]
    whole = len(body) >= _COUNT.size and saved[:_DIGEST] == _digest(identity, body)
    count: int = _COUNT.unpack_from(body)[0] if whole else 0
    end = _COUNT.size + 4 * count
    if not whole or len(body) < end:
        raise RequestError(
            "these bytes are not a prompt that was saved with this model and kv_type"
        )
    tokens = list(struct.unpack_from(f"<{count}I", body, _COUNT.size))
    check_prompt(tokens, engine)
    await scheduler.restore(tokens, body[end:])
    return count


def _digest(identity: bytes, body: bytes) -> bytes:
    return hashlib.sha256(identity + body).digest()
