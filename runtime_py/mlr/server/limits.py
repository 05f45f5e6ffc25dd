"""The limits of what a request may ask for, all in one place."""

from __future__ import annotations

MAX_BODY = 4 * 2**20
"""Bytes of a request's body; far over any prompt that fits a context."""

MAX_DISCARDED = 64 * 2**20
"""Bytes that are read past, of a body that is refused for its size."""

DISCARD_TIMEOUT = 0.5
"""Seconds without any of those bytes after which the refusal is sent."""

MAX_JSON_DEPTH = 32
"""Levels of nesting in a request's body."""

MAX_PROMPTS = 64
"""Prompts in one completion request."""

MAX_INPUTS = 2048
"""Texts in one request for embeddings, as in OpenAI's interface."""

MAX_CHARACTERS_PER_TOKEN = 64
"""Characters of a prompt for each token of the context. Text takes about 4; a prompt of more than
64 is refused without the seconds that it would take to see how far it is over the context."""

MAX_MESSAGES = 4096
"""Messages in one chat request."""

MAX_STOPS = 4
"""Stop sequences in a request, as in OpenAI's interface."""

MAX_STOP_LENGTH = 1024
"""Characters of a stop sequence."""

MAX_TOKENS = 2**24
"""The largest `max_tokens`; the context ends a generation long before."""

MAX_LOGPROBS = 20
"""Likeliest tokens that may be asked for beside each token, as in OpenAI's chats."""

MAX_TOOLS = 128
"""Tools in one chat request, as in OpenAI's interface."""

MAX_WAITING = 32
"""Requests that wait for one model; the next one is told to come back later."""

MAX_RETRY_AFTER = 60
"""Seconds, the longest wait that a refused request is told."""

HEAD_TIMEOUT = 30.0
"""Seconds within which the head of a request must have arrived."""

BODY_TIMEOUT = 30.0
"""Seconds within which a request's body must have arrived."""

SEND_TIMEOUT = 30.0
"""Seconds that a client may leave an event of a stream unread. It has the model meanwhile."""

MAX_CONNECTIONS = 256
"""Connections at a time; each may be holding a whole body."""

SHUTDOWN_TIMEOUT = 5
"""Seconds that connections are given to end when the server stops."""
