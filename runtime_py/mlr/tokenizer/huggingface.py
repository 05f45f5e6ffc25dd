"""Tokenizers from Hugging Face's tokenizer.json, id for id what `tokenizers` does with it.

`truncation` and `padding`, which some files hold, are settings of a training run and are left
out: a text is never cut or filled up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mlr.errors import TokenizerError
from mlr.tokenizer.added_tokens import AddedToken, LeftmostLongest
from mlr.tokenizer.components import (
    StepFactory,
    build_decoder,
    build_normalizer,
    build_post,
    build_pre_tokenizer,
)
from mlr.tokenizer.decoders import (
    ByteLevelStep,
    BytesDecoder,
    Decoder,
    JoinStep,
    StepsDecoder,
    byte_level_bytes,
)
from mlr.tokenizer.fields import Fields
from mlr.tokenizer.models.bpe import BPE, BPEOptions, ListedMerges
from mlr.tokenizer.models.unigram import Unigram, UnigramOptions
from mlr.tokenizer.models.wordlevel import WordLevel
from mlr.tokenizer.models.wordpiece import WordPiece
from mlr.tokenizer.special import BEGIN_TOKENS, END_TOKENS, HIDDEN_FROM_END, PAD_TOKENS
from mlr.tokenizer.tokenizer import Model, SpecialTokens, Tokenizer
from mlr.tokenizer.vocabulary import MAX_TOKENS, ListedVocabulary, byte_tokens

__all__ = ["from_huggingface"]


def from_huggingface(
    tokenizer_json: Mapping[str, Any], tokenizer_config: Mapping[str, Any] | None = None
) -> Tokenizer:
    """The tokenizer that a tokenizer.json describes.

    `tokenizer_config` is the content of tokenizer_config.json, which names the special tokens;
    without it they are known by their usual names. TokenizerError when the file is inconsistent,
    or uses a component that is not supported.
    """
    fields = Fields(tokenizer_json, "tokenizer.json")
    vocabulary, unk_id, make_model = _model(fields.object("model"))
    added = _added_tokens(fields, vocabulary)
    normalizer_fields = fields.optional("normalizer")
    normalizer = build_normalizer(normalizer_fields) if normalizer_fields else None
    pre_fields = fields.optional("pre_tokenizer")
    post_fields = fields.optional("post_processor")
    special = {token.content for token in added if token.special}
    return Tokenizer(
        vocabulary=vocabulary,
        added_tokens=LeftmostLongest(added, normalizer),
        normalizer=normalizer,
        pre_tokenizer=build_pre_tokenizer(pre_fields) if pre_fields else None,
        model=make_model(),
        post_processor=build_post(post_fields, len(vocabulary)) if post_fields else None,
        decoder=_decoder(fields.optional("decoder"), vocabulary),
        special=_special(vocabulary, special, unk_id, tokenizer_config),
    )


_ModelParts = tuple[ListedVocabulary, int | None, Callable[[], Model]]


def _model(fields: Fields) -> _ModelParts:
    """The vocabulary, the id of its unknown token, and a function that makes the model.

    The model is made last, when the added tokens have been checked against the vocabulary.
    """
    kind = fields.value.get("type")
    if kind is None:
        # Old files name no type; what they hold tells.
        kind = "BPE" if "merges" in fields.value else "WordPiece"
    readers = {"BPE": _bpe, "Unigram": _unigram, "WordLevel": _wordlevel, "WordPiece": _wordpiece}
    if not isinstance(kind, str) or kind not in readers:
        raise TokenizerError(
            f"{fields.where}: the model {kind!r} is not supported; "
            f"supported: {', '.join(sorted(readers))}"
        )
    return readers[kind](fields)


def _vocabulary(fields: Fields) -> ListedVocabulary:
    return ListedVocabulary.from_mapping(fields.value.get("vocab"), f"{fields.where}.vocab")


def _bpe(fields: Fields) -> _ModelParts:
    vocabulary = _vocabulary(fields)
    options = BPEOptions(
        unk_token=fields.text("unk_token", "") or None,
        continuing_subword_prefix=fields.text("continuing_subword_prefix", ""),
        end_of_word_suffix=fields.text("end_of_word_suffix", ""),
        fuse_unk=fields.flag("fuse_unk", False),
        byte_fallback=fields.flag("byte_fallback", False),
        ignore_merges=fields.flag("ignore_merges", False),
    )
    merges = ListedMerges.read(
        fields.value.get("merges"),
        vocabulary,
        options.continuing_subword_prefix,
        f"{fields.where}.merges",
    )
    model_ids = ListedVocabulary(vocabulary.tokens, dict(vocabulary.ids))
    unk_id = vocabulary.ids.get(options.unk_token or "")
    return vocabulary, unk_id, lambda: BPE(model_ids, merges, options)


def _wordpiece(fields: Fields) -> _ModelParts:
    vocabulary = _vocabulary(fields)
    unk_id = _unknown(fields, vocabulary, "[UNK]")
    if unk_id is None:
        raise fields.problem("the unknown token is not in the vocabulary")
    prefix = fields.text("continuing_subword_prefix", "##")
    longest = fields.count("max_input_chars_per_word", 100)
    model_ids = ListedVocabulary(vocabulary.tokens, dict(vocabulary.ids))
    return vocabulary, unk_id, lambda: WordPiece(model_ids, unk_id, prefix, longest)


def _wordlevel(fields: Fields) -> _ModelParts:
    vocabulary = _vocabulary(fields)
    unk_id = _unknown(fields, vocabulary, "<unk>")
    model_ids = ListedVocabulary(vocabulary.tokens, dict(vocabulary.ids))
    return vocabulary, unk_id, lambda: WordLevel(model_ids, unk_id)


def _unknown(fields: Fields, vocabulary: ListedVocabulary, default: str) -> int | None:
    return vocabulary.ids.get(fields.text("unk_token", default))


def _unigram(fields: Fields) -> _ModelParts:
    pairs = fields.items("vocab")
    where = f"{fields.where}.vocab"
    if not all(type(pair) is list and len(pair) == 2 for pair in pairs):
        raise TokenizerError(f"{where}: every entry must be a token and its score")
    vocabulary = ListedVocabulary.from_list([pair[0] for pair in pairs], where)
    scores = {token: score for token, score in pairs if token}
    if set(map(type, scores.values())) - {int, float} or not all(
        map(math.isfinite, scores.values())
    ):
        raise TokenizerError(f"{where}: every score must be a finite number")
    unk_id = fields.count("unk_id") if fields.value.get("unk_id") is not None else None
    if unk_id is not None and unk_id >= len(vocabulary):
        raise fields.problem(f"unk_id is {unk_id}, but there are {len(vocabulary)} tokens")
    options = UnigramOptions(
        unk_id=unk_id,
        min_score=min((score for _, score in pairs), default=0.0),
        byte_ids=byte_tokens(vocabulary) if fields.flag("byte_fallback", False) else None,
    )
    model_ids = ListedVocabulary(vocabulary.tokens, dict(vocabulary.ids))
    return vocabulary, unk_id, lambda: Unigram(model_ids, scores, options)


def _added_tokens(fields: Fields, vocabulary: ListedVocabulary) -> list[AddedToken]:
    """The added tokens; those that the model does not have are put into the vocabulary."""
    if fields.value.get("added_tokens") is None:
        return []
    tokens: list[AddedToken] = []
    for entry in fields.objects("added_tokens"):
        token = AddedToken(
            id=entry.count("id"),
            content=entry.text("content"),
            single_word=entry.flag("single_word", False),
            lstrip=entry.flag("lstrip", False),
            rstrip=entry.flag("rstrip", False),
            normalized=entry.flag("normalized", False),
            special=entry.flag("special", False),
        )
        if not token.content:
            continue
        _place(token, entry, vocabulary)
        tokens.append(token)
    return tokens


def _place(token: AddedToken, entry: Fields, vocabulary: ListedVocabulary) -> None:
    known = vocabulary.ids.get(token.content)
    if known is not None:
        if known != token.id:
            raise entry.problem(
                f"{token.content!r} has the id {token.id}, but the id {known} in the vocabulary"
            )
        return
    size = len(vocabulary)
    if token.id >= min(size + 65_536, MAX_TOKENS):
        raise entry.problem(f"the id {token.id} is far beyond the {size} tokens")
    if token.id < size and vocabulary.tokens[token.id]:
        raise entry.problem(
            f"{token.content!r} and {vocabulary.tokens[token.id]!r} share the id {token.id}"
        )
    vocabulary.add(token.content, token.id)


def _decoder(fields: Fields | None, vocabulary: ListedVocabulary) -> Decoder:
    tokens = vocabulary.tokens

    def token_text(token_id: int) -> str:
        return tokens[token_id]

    if fields is None:
        return StepsDecoder(token_text, lambda: [JoinStep()])
    factory: StepFactory = build_decoder(fields)
    steps = factory()
    if len(steps) == 1 and isinstance(steps[0], ByteLevelStep):
        return BytesDecoder(lambda token_id: byte_level_bytes(tokens[token_id]))
    return StepsDecoder(token_text, factory)


def _special(
    vocabulary: ListedVocabulary,
    special: set[str],
    unk_id: int | None,
    config: Mapping[str, Any] | None,
) -> SpecialTokens:
    ids = vocabulary.ids

    def named(key: str, usual: tuple[str, ...]) -> int | None:
        value = (config or {}).get(key)
        if isinstance(value, Mapping):
            value = value.get("content")
        if isinstance(value, str):
            return ids.get(value)
        if config is not None and key in config:
            return None
        return next((ids[name] for name in usual if name in special and name in ids), None)

    eos = named("eos_token", END_TOKENS)
    ends = {ids[name] for name in END_TOKENS if name in special}
    for others, name, _ in HIDDEN_FROM_END:
        if name in ids and all(other in ids for other in others):
            ends.discard(ids[name])
    unk = named("unk_token", ()) if config is not None else unk_id
    return SpecialTokens(
        bos=named("bos_token", BEGIN_TOKENS),
        eos=eos,
        unk=unk_id if unk is None else unk,
        pad=named("pad_token", PAD_TOKENS),
        ends=frozenset(ends if eos is None else ends | {eos}),
        hidden=frozenset(ids[content] for content in special),
    )
