"""Names by which tokens with a meaning of their own are known across model families."""

from __future__ import annotations

__all__ = ["END_TOKENS", "HIDDEN_FROM_END"]

END_TOKENS = (
    "</s>",
    "<eos>",
    "<end_of_turn>",
    "<turn|>",
    "<|tool_response>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
)
"""Tokens that end a turn or a text: generation stops on them."""

HIDDEN_FROM_END = (
    (("<|return|>", "<|call|>"), "<|end|>", "USER_DEFINED"),
    (("<|calls|>", "<|flush|>"), "<|end|>", "USER_DEFINED"),
    (("<|tool_response>",), "</s>", "NORMAL"),
)
"""Exceptions: where all of the first exist, the second does not end a turn and is of that type."""
