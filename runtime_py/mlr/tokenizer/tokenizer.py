"""The tokenizer: five stages in a row, whatever file they were read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from mlr.errors import RequestError
from mlr.tokenizer.added_tokens import AddedTokens
from mlr.tokenizer.decoders import Decoder
from mlr.tokenizer.post_processors import PairSurroundings, PostProcessor
from mlr.tokenizer.pre_tokenizers import PreTokenizer
from mlr.tokenizer.stream import DecodeStream
from mlr.tokenizer.vocabulary import Vocabulary

__all__ = ["Model", "SpecialTokens", "Tokenizer"]


class Model(Protocol):
    """The fourth stage: pieces of text to token ids."""

    def encode(self, pieces: Iterable[str]) -> list[int]: ...


@dataclass(frozen=True)
class SpecialTokens:
    """Ids with a meaning of their own; None where the vocabulary has no such token."""

    bos: int | None = None
    eos: int | None = None
    unk: int | None = None
    pad: int | None = None
    ends: frozenset[int] = field(default_factory=frozenset)
    hidden: frozenset[int] = field(default_factory=frozenset)
    """Tokens that `decode` leaves out unless it is asked to show them."""


class Tokenizer:
    """Text to token ids and back.

    Encoding: added tokens are cut out of the text; what lies between them goes through the
    normalizer, the pre-tokenizer and the model; the post-processor adds the tokens that belong
    around the whole. Decoding runs the decoder. Instances are not changed by use, except for
    caches of bounded size.
    """

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        added_tokens: AddedTokens,
        normalizer: Callable[[str], str] | None,
        pre_tokenizer: PreTokenizer | None,
        model: Model,
        post_processor: PostProcessor | None,
        decoder: Decoder,
        special: SpecialTokens,
    ) -> None:
        self._vocabulary = vocabulary
        self._added = added_tokens
        self._normalizer = normalizer
        self._pre_tokenizer = pre_tokenizer
        self._model = model
        self._post_processor = post_processor
        self._decoder = decoder
        self._special = special
        self.vocabulary_size = len(vocabulary)
        self.bos_id = special.bos
        self.eos_id = special.eos
        self.unk_id = special.unk
        self.pad_id = special.pad
        self.end_ids = special.ends
        self.hidden_ids = special.hidden

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Token ids of `text`.

        `add_special` adds what the model expects around a text (a beginning-of-sequence token,
        for example). With `parse_special=False`, text that looks like a special token is read
        as plain text: use it for what users typed.

        Unpaired surrogates, which JSON and JavaScript strings may hold and UTF-8 cannot, are
        read as U+FFFD, as `TextEncoder` does in a browser; surrogates in pairs are joined.
        """
        ids: list[int] = []
        normalizer, pre_tokenizer, model = self._normalizer, self._pre_tokenizer, self._model
        first = True
        for fragment in self._added.split(_well_formed(text), normalizer, parse_special):
            if isinstance(fragment, int):
                ids.append(fragment)
            elif fragment:
                pieces = [fragment]
                if pre_tokenizer is not None:
                    pieces = pre_tokenizer.split(pieces, first)
                ids += model.encode(pieces)
            first = False
        if add_special and self._post_processor is not None:
            ids = self._post_processor.process(ids)
        return ids

    def surroundings(self) -> tuple[list[int], list[int]]:
        """The ids that `encode` puts before and after a text."""
        if self._post_processor is None:
            return [], []
        text = -1  # stands for the text: it is no id
        ids = self._post_processor.process([text])
        place = ids.index(text)
        return ids[:place], ids[place + 1 :]

    def pair_surroundings(self) -> PairSurroundings:
        """The ids before, between and after two texts that are read together.

        Raises `RequestError` for a tokenizer that is not made for pairs.
        """
        pair = self._post_processor.pair if self._post_processor is not None else None
        if pair is None:
            raise RequestError("this model's tokenizer does not say how two texts go together")
        return pair

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of `ids`. Bytes that are not UTF-8 become U+FFFD, ids outside the vocabulary
        add nothing, and special tokens are left out unless `skip_special` is false."""
        stream = self.stream(skip_special=skip_special)
        parts = [stream.push(token_id) for token_id in ids]
        parts.append(stream.flush())
        return "".join(parts)

    def stream(
        self, *, skip_special: bool = True, shown: frozenset[int] = frozenset()
    ) -> DecodeStream:
        """A decoder that is fed one id at a time and never gives half a character.

        `shown` are special tokens that are not left out.
        """
        skipped = self._special.hidden - shown if skip_special else frozenset()
        return DecodeStream(self._decoder.sink(), skipped, self.vocabulary_size)

    def piece(self, token_id: int) -> str:
        """The token as the vocabulary spells it. RequestError when there is no such id."""
        if not 0 <= token_id < self.vocabulary_size:
            raise RequestError(
                f"token id {token_id} is not in the vocabulary; "
                f"ids go from 0 to {self.vocabulary_size - 1}"
            )
        return self._vocabulary.text(token_id)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that the token adds to a text. RequestError when there is no such id."""
        self.piece(token_id)
        return self._decoder.token_bytes(token_id)

    def token_id(self, text: str) -> int | None:
        """The id of the token spelled exactly `text`, or None."""
        return self._vocabulary.find(text)


def _well_formed(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
