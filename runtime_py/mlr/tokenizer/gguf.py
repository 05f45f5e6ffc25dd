"""Tokenizers from GGUF metadata (`tokenizer.ggml.*`), id for id what llama.cpp does with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlr.errors import TokenizerError
from mlr.tokenizer.added_tokens import LongestFirst
from mlr.tokenizer.byte_level import byte_values
from mlr.tokenizer.charsmap import MAX_SIZE, Charsmap
from mlr.tokenizer.decoders import BytesDecoder, byte_level_bytes
from mlr.tokenizer.gguf_fields import PREFIX, GgufFields, TokenType
from mlr.tokenizer.gguf_patterns import PRE_TOKENIZERS, PreTokenizerKind
from mlr.tokenizer.gguf_text import UnigramNormalizer, bert_words
from mlr.tokenizer.models.bpe import BPE, BPEOptions, ListedMerges, Merges
from mlr.tokenizer.models.sentencepiece import SentencePieceBPE, safe_boundaries
from mlr.tokenizer.models.unigram import Unigram, UnigramOptions
from mlr.tokenizer.models.wordpiece import WordPiece
from mlr.tokenizer.normalizers import Normalizer
from mlr.tokenizer.packed import PackedMerges, PackedScores
from mlr.tokenizer.patterns import Pattern
from mlr.tokenizer.post_processors import Surround
from mlr.tokenizer.pre_tokenizers import ByteLevel, PreTokenizer, Sequential, Split, WordFunction
from mlr.tokenizer.tokenizer import Model, SpecialTokens, Tokenizer
from mlr.tokenizer.vocabulary import SPACE, ListedVocabulary, byte_tokens

__all__ = ["from_gguf"]


def from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a GGUF file's metadata describes.

    TokenizerError when the metadata is inconsistent, or names a kind of tokenizer or a
    pre-tokenizer that is not supported.
    """
    builders: dict[str, Callable[[Mapping[str, Any]], Tokenizer]] = {
        "bert": _wordpiece,
        "gemma4": _whole_text_bpe,
        "gpt2": _byte_level_bpe,
        "llama": _sentencepiece,
        "t5": _unigram,
    }
    kind = metadata.get(PREFIX + "model")
    if not isinstance(kind, str) or kind not in builders:
        what = "is missing" if kind is None else f"is {kind!r}, which is not supported"
        raise TokenizerError(f"{PREFIX}model {what}; supported: {', '.join(builders)}")
    return builders[kind](metadata)


def _sentencepiece(metadata: Mapping[str, Any]) -> Tokenizer:
    fields = GgufFields(metadata, {"unk": 0, "bos": 1, "eos": 2})
    prefix = " " if fields.flag("add_space_prefix", True) else ""
    scores = fields.scores()
    return _assemble(
        fields,
        normalizer=lambda text: (prefix + text).replace(" ", SPACE),
        model=SentencePieceBPE(
            fields.vocabulary,
            scores.__getitem__,
            byte_tokens(fields.vocabulary),
            fields.special["unk"],
            falling=scores.falling if isinstance(scores, PackedScores) else range(0),
        ),
        surround=_surround(fields, bos=True, eos=False),
        decoder=BytesDecoder(_spaced_bytes(fields), drop_space=bool(prefix)),
    )


def _byte_level_bpe(metadata: Mapping[str, Any]) -> Tokenizer:
    fields = GgufFields(metadata, {})
    kind = _pre_tokenizer_kind(fields)
    splits = [Split(Pattern(pattern), "Isolated") for pattern in kind.patterns]
    options = BPEOptions(ignore_merges=kind.ignore_merges, keep_unknown=True)
    return _assemble(
        fields,
        pre_tokenizer=Sequential([*splits, ByteLevel(add_prefix_space=False, use_regex=False)]),
        model=BPE(fields.vocabulary, _merges(fields), options),
        surround=_surround(fields, bos=kind.add_bos, eos=False),
        decoder=BytesDecoder(_byte_level_bytes(fields)),
    )


def _pre_tokenizer_kind(fields: GgufFields) -> PreTokenizerKind:
    name = fields.text("pre", "default")
    if name not in PRE_TOKENIZERS:
        raise TokenizerError(
            f"{PREFIX}pre is {name!r}, which is not supported; "
            f"supported: {', '.join(sorted(PRE_TOKENIZERS))}"
        )
    return PRE_TOKENIZERS[name]


def _merges(fields: GgufFields) -> Merges:
    merges, vocabulary = fields.get("merges"), fields.vocabulary
    if isinstance(merges, PackedMerges):
        return merges
    if not isinstance(vocabulary, ListedVocabulary):
        raise TokenizerError(f"{PREFIX}merges are missing")
    return ListedMerges.read(merges, vocabulary, "", PREFIX + "merges", first=True)


def _whole_text_bpe(metadata: Mapping[str, Any]) -> Tokenizer:
    """SentencePiece's way with a list of merges: spaces are `▁`, unknown characters are bytes."""
    fields = GgufFields(metadata, {})
    options = BPEOptions(byte_fallback=True, keep_unknown=True)
    return _assemble(
        fields,
        normalizer=lambda text: text.replace(" ", SPACE),
        pre_tokenizer=Split(Pattern(r"[^\n]+|\n+"), "Isolated"),
        model=BPE(fields.vocabulary, _merges(fields), options),
        surround=_surround(fields, bos=True, eos=False),
        decoder=BytesDecoder(_spaced_bytes(fields)),
    )


def _wordpiece(metadata: Mapping[str, Any]) -> Tokenizer:
    fields = GgufFields(metadata, {"bos": 101, "unk": 100, "sep": 102, "pad": 0})
    lowercase = fields.flag("normalizer.lowercase", True)
    strip_accents = fields.flag("normalizer.strip_accents", lowercase)
    why = "WordPiece needs it"
    before, after = [fields.required("bos", why)], [fields.required("sep", why)]
    return _assemble(
        fields,
        pre_tokenizer=WordFunction(
            lambda text: bert_words(text, lowercase=lowercase, strip_accents=strip_accents)
        ),
        model=WordPiece(fields.vocabulary, fields.required("unk", why), "", None),
        surround=Surround(before, after, (before, after, after)),
        decoder=BytesDecoder(_spaced_bytes(fields), drop_space=True),
    )


def _unigram(metadata: Mapping[str, Any]) -> Tokenizer:
    fields = GgufFields(metadata, {"eos": 1, "unk": 2, "pad": 0})
    tokens, types = list(fields.vocabulary.texts()), fields.types
    scores = {
        tokens[token_id]: 0.0 if types[token_id] == TokenType.USER_DEFINED else float(score)
        for token_id, score in enumerate(fields.scores())
        if types[token_id] in (TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.UNUSED)
    }
    scores.pop("", None)
    normal = [scores[tokens[i]] for i in fields.with_type(TokenType.NORMAL) if tokens[i]]
    prefix = fields.flag("add_space_prefix", False)
    options = UnigramOptions(
        unk_id=fields.required("unk", "Unigram needs it"),
        min_score=min(normal, default=0.0),
        look_up_unknown=False,
    )
    boundaries = safe_boundaries(fields.vocabulary) if _sums_exactly(scores) else None
    return _assemble(
        fields,
        normalizer=UnigramNormalizer(
            _charsmap(fields),
            [tokens[i] for i in fields.with_type(TokenType.USER_DEFINED)],
            add_prefix=prefix,
            merge_spaces=fields.flag("remove_extra_whitespaces", False),
        ),
        pre_tokenizer=None if boundaries is None else WordFunction(boundaries.split),
        model=Unigram(fields.vocabulary, scores, options),
        surround=_surround(fields, bos=False, eos=True),
        decoder=BytesDecoder(_spaced_bytes(fields), drop_space=prefix),
    )


def _sums_exactly(scores: Mapping[str, float]) -> bool:
    """Whether sums of scores have no rounding, so that a text may be scored in parts.

    Scores are 32-bit floating-point numbers: as multiples of 2^-24 below 2^8, a sum of two
    million of them still fits into the 53 bits of a double.
    """
    return SPACE in scores and all(
        abs(score) < 256 and (score * 0x1000000).is_integer() for score in scores.values()
    )


def _charsmap(fields: GgufFields) -> Charsmap | None:
    values = fields.get("precompiled_charsmap")
    if values is None or values == []:
        return None
    where = PREFIX + "precompiled_charsmap"
    if not isinstance(values, (list, tuple, bytes)) or len(values) > MAX_SIZE:
        raise TokenizerError(f"{where} must be a list of at most {MAX_SIZE} bytes")
    try:
        # The format has signed and unsigned bytes.
        return Charsmap(bytes([value & 0xFF for value in values]), where)
    except TypeError:
        raise TokenizerError(f"{where} must be a list of bytes") from None


_SHOWN_AS_IS = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED)


def _spaced_bytes(fields: GgufFields) -> Callable[[int], bytes]:
    """The bytes of a token where `▁` is a space and byte tokens are bytes."""
    utf8_of, types, values = fields.vocabulary.utf8, fields.types, fields.byte_values
    space = SPACE.encode()
    normal = TokenType.NORMAL  # looking it up takes longer than comparing

    def token_bytes(token_id: int) -> bytes:
        kind = types[token_id]
        if kind == normal:
            return utf8_of(token_id).replace(space, b" ")
        if kind == TokenType.BYTE:
            return bytes((values[token_id],))
        return utf8_of(token_id) if kind in _SHOWN_AS_IS else b""

    return token_bytes


def _byte_level_bytes(fields: GgufFields) -> Callable[[int], bytes]:
    """The bytes of a token in GPT-2's alphabet."""
    text_of, types, values = fields.vocabulary.text, fields.types, fields.byte_values
    normal = TokenType.NORMAL  # looking it up takes longer than comparing
    alphabet = byte_values()

    def token_bytes(token_id: int) -> bytes:
        kind = types[token_id]
        text = text_of(token_id)
        if kind == normal:
            try:
                return bytes([alphabet[character] for character in text])
            except KeyError:
                return b"".join(map(byte_level_bytes, text))
        if kind == TokenType.BYTE:
            return bytes((values[token_id],))
        return text.encode() if kind in _SHOWN_AS_IS else b""

    return token_bytes


def _surround(fields: GgufFields, *, bos: bool, eos: bool) -> Surround | None:
    before: list[int] = []
    after: list[int] = []
    if fields.flag("add_bos_token", bos):
        before.append(fields.required("bos", f"{PREFIX}add_bos_token is set"))
    if fields.flag("add_eos_token", eos):
        after.append(fields.required("eos", f"{PREFIX}add_eos_token is set"))
    return Surround(before, after) if before or after else None


def _assemble(
    fields: GgufFields,
    *,
    model: Model,
    surround: Surround | None,
    decoder: BytesDecoder,
    normalizer: Normalizer | None = None,
    pre_tokenizer: PreTokenizer | None = None,
) -> Tokenizer:
    text_of, types = fields.vocabulary.text, fields.types
    cut_out = fields.with_type(TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
    control = frozenset(i for i in cut_out if types[i] != TokenType.USER_DEFINED)
    added = {text: token_id for token_id in cut_out if (text := text_of(token_id))}
    special = fields.special
    return Tokenizer(
        vocabulary=fields.vocabulary,
        added_tokens=LongestFirst(added, control),
        normalizer=normalizer,
        pre_tokenizer=pre_tokenizer,
        model=model,
        post_processor=surround,
        decoder=decoder,
        special=SpecialTokens(
            bos=special["bos"],
            eos=special["eos"],
            unk=special["unk"],
            pad=special["pad"],
            ends=fields.ends,
            hidden=control,
        ),
    )
