"""Names by which tokens with a meaning of their own are known across model families."""

from __future__ import annotations

__all__ = ["BEGIN_TOKENS", "END_TOKENS", "HIDDEN_FROM_END", "PAD_TOKENS"]

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
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""Tokens that end a turn, a text or a file: generation stops on them."""

HIDDEN_FROM_END = (
    (("<|return|>", "<|call|>"), "<|end|>", "USER_DEFINED"),
    (("<|calls|>", "<|flush|>"), "<|end|>", "USER_DEFINED"),
    (("<|tool_response>",), "</s>", "NORMAL"),
)
"""Exceptions: where all of the first exist, the second does not end a turn and is of that type."""

BEGIN_TOKENS = (
    "<s>",
    "<bos>",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<｜begin▁of▁sentence｜>",
    "[CLS]",
    "<|endoftext|>",
)
"""Tokens that begin a text, the likeliest first."""

PAD_TOKENS = ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>")
"""Tokens that fill up a batch, the likeliest first."""
