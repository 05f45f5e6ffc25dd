"""llama.cpp's tokenizer, without a model: only the vocabulary of a GGUF file is loaded."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["LlamaCppVocabulary"]


class LlamaCppVocabulary:
    """`encode` and `token_bytes` of llama.cpp. Use it in a `with` statement."""

    def __init__(self, path: Path) -> None:
        import llama_cpp

        self._api: Any = llama_cpp
        self._silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._silent, ctypes.c_void_p(0))
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise ValueError(f"llama.cpp does not load {path.name}")
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self._vocabulary)

    def __enter__(self) -> LlamaCppVocabulary:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._api.llama_model_free(self._model)

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode()
        capacity = 8 * len(data) + 64
        buffer = (ctypes.c_int32 * capacity)()
        count = self._api.llama_tokenize(
            self._vocabulary, data, len(data), buffer, capacity, add_special, parse_special
        )
        if count < 0:
            raise ValueError(f"llama.cpp wants room for {-count} tokens")
        return list(buffer[:count])

    def token_bytes(self, token_id: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(4096)
        count = self._api.llama_token_to_piece(
            self._vocabulary, token_id, buffer, len(buffer), 0, special
        )
        return buffer.raw[:count]

    def is_end(self, token_id: int) -> bool:
        return bool(self._api.llama_vocab_is_eog(self._vocabulary, token_id))
