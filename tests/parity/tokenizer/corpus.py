"""Texts on which tokenizers are compared: every script, and everything that has gone wrong."""

from __future__ import annotations

__all__ = ["ENGLISH", "TEXTS", "TRAINING"]

ENGLISH = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the "
    "age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the "
    "season of Light, it was the season of Darkness, it was the spring of hope, it was the winter "
    "of despair, we had everything before us, we had nothing before us.\n"
)

_SCRIPTS = {
    "latin": "Größe naïve façade Ænima Øresund żółć čeština Ðorđe ƒ ẞ ﬁﬂ İstanbul ıĳ",
    "vietnamese": "Tiếng Việt có thanh điệu: ngã, hỏi, nặng, huyền, sắc.",
    "greek": "Ελληνικά: ὁ λόγος, ΣΊΣΥΦΟΣ και ὈΔΥΣΣΕΎΣ",
    "cyrillic": "Съешь же ещё этих мягких французских булок, да выпей чаю. Ґанок їжак",
    "armenian": "Հայերեն լեզու",
    "hebrew": "שָׁלוֹם עוֹלָם, זה טקסט",
    "arabic": "السَّلَامُ عَلَيْكُمْ ١٢٣٤٥ ٪ ﷺ لا",
    "persian": "می‌خواهم فارسی بنویسم ۱۲۳",
    "syriac": "ܫܠܡܐ ܠܟܘܢ",
    "devanagari": "नमस्ते दुनिया, क्षत्रिय १२३ ज्ञान",
    "bengali": "বাংলা ভাষা ো ৌ ১২৩",
    "gurmukhi": "ਪੰਜਾਬੀ",
    "tamil": "தமிழ் மொழி",
    "telugu": "తెలుగు భాష",
    "kannada": "ಕನ್ನಡ",
    "malayalam": "മലയാളം ൻ ൾ",
    "sinhala": "සිංහල ශ්‍රී",
    "thai": "ภาษาไทยไม่มีช่องว่าง น้ำ ๑๒๓",
    "lao": "ພາສາລາວ",
    "tibetan": "བོད་སྐད་ ༡༢༣",
    "burmese": "မြန်မာဘာသာ ၁၂၃",
    "khmer": "ភាសាខ្មែរ",
    "georgian": "ქართული ენა ᲥᲐᲠᲗᲣᲚᲘ",
    "ethiopic": "አማርኛ ቋንቋ ፩፪",
    "cherokee": "ᏣᎳᎩ ꭰꭱ",
    "mongolian": "ᠮᠣᠩᠭᠣᠯ",
    "chinese": "我能吞下玻璃而不伤身体。繁體中文，「引號」！",
    "japanese": "日本語のテキスト、カタカナとﾊﾝｶｸ。「こんにちは」㋿㍿",
    "korean": "안녕하세요 세계, 한국어 텍스트입니다. ㅋㅋㅋ",
    "hangul_parts": "\u1112\u1161\u11ab\u1100\u116e\u11a8",
    "yi": "ꆈꌠꉙ",
    "runes": "ᚠᛇᚻ᛫ᛒᛦᚦ",
    "gothic": "𐌼𐌰𐌲 𐌲𐌻𐌴𐍃",
    "deseret": "𐐔𐐯𐑅𐐨𐑉𐐯𐐻",
    "cuneiform": "𒀀𒁀",
    "mathematical": "𝔘𝔫𝔦𝕔𝕠𝕕𝕖 𝒙² + 𝑦³ = ∑ᵢ √½ ∞ ℵ₀ Ⅷ ⅳ ②",
    "braille": "⠓⠑⠇⠇⠕",
    "adlam": "𞤀𞤁𞤂 𞤢𞤣𞤤",
    "all_at_once": "aбγדअ中あ가ไ١२𐐀",
}

_EMOJI = {
    "emoji": "I 💖 emoji 😀😃 and text☺️.",
    "skin_tones": "👍🏻👍🏿 🧑🏽‍🚀",
    "zwj": "👨‍👩‍👧‍👦 👩🏾‍❤️‍💋‍👨🏻 🏳️‍🌈",
    "flags": "🇩🇪🇫🇷🇯🇵 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🇦",
    "keycaps": "1️⃣ #️⃣ *️⃣ ©️®️™️",
}

_SPACES = {
    "empty": "",
    "space": " ",
    "spaces": "   leading and trailing   ",
    "many_spaces": "a" + " " * 70 + "b",
    "newlines": "\n\n\n\n\na\n\n b \n\r\n\r\n\r",
    "many_newlines": "x" + "\n" * 45 + "y" + "\r\n" * 20,
    "tabs": "\t\t\tindented\t\ttext\t" + "\t" * 37,
    "mixed_spaces": " \t \n \t\t\n\n  \v\f x \u00a0y\u2003z\u3000w\u2028v\u2029u\u0085t",
    "zero_width": "a\u200bb\u200cc\u200dd\ufeffe\u2060f\u00adg",
    "information_separators": "a\x1cb\x1dc\x1ed\x1fe",
    "space_before_punctuation": "Hello , world . How ' s it n't going ? do not !",
    "spaces_between_words": "one  two   three    four     five",
}

_MARKS = {
    "combining": "e\u0301 o\u0308\u0304 Z\u0351\u036b\u0343a\u0333l\u034dg\u0321o\u035b",
    "marks_alone": "\u0301\u0302 \u20dd \u0903",
    "long_marks": "a" + "\u0300" * 40,
    "composed": "\u00e9\u1e69\u212b\ufb01\u2126 \u0958",
    "variation": "︎︎ ⚖︎ 葛󠄀",
}

_CODE = {
    "python": 'def f(x: int) -> str:\n    return f"{x!r:>10}"  # comment\n\n\nclass A:\n\tpass\n',
    "html": "<div class='a'><p>Hi &amp; bye</p></div><ul><li>1</li></ul><s>x</s><b><i>",
    "json": '{"a": [1, 2.5e-10, null], "b": {"c": "\\u00e9\\n"}}',
    "c": "for(int i=0;i<n;++i){a[i]^=b->c<<2;}/*x*/ #include <stdio.h>",
    "latex": r"\frac{a}{b} \\ $x_{i}^{2}$ ~\ref{eq:1}",
    "url": "https://example.com/a_b?c=d&e=f%20g#h user@example.org",
    "camel": "camelCase PascalCase snake_case SCREAMING_CASE kebab-case HTTPServer2Go",
}

_NUMBERS = {
    "numbers": "0 1 12 123 1234 12345 123456 1234567 12345678 1,234,567.89 -3.14e+10 0xFF",
    "ordinals": "1st 2nd 3rd 4th 1990s 24/7 50% $9.99 €5 £3 №7 §8",
    "unicode_numbers": "²³¼½ ٣٤ ४५ ৭ 三 ①② Ⅻ ௧௨ 🄀",
}

_CONTROL = {
    "controls": "".join(map(chr, [*range(1, 9), *range(14, 32), 127, 128, 133, 159])),
    "private": "\ue000\uf8ff\U000f0000",
    "noncharacters": "\ufffe\uffff\U0001fffe",
    "replacement": "a\ufffdb",
    "unassigned": "\u0378\u05ff\U0003fffd",
    "bidi": "\u202eabc\u202c \u2066x\u2069",
    "metaspace": "a\u2581b \u2581 \u2581\u2581c",
    "byte_names": "<0x41><0x-1><0x0A> <0xFF>",
    "quotes": "don't I'LL we've they'Re it'S 'tis ’s ‘x’ “y” «z» ‹a› 'ſ",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ... --- ¿¡ ‽ … – — • 、。",
    "new_punctuation": "a\u2e43b\u2e5dc\u166dd\U000111c9e\u061df",
    "new_characters": "\u1c89\ua7da \U000105c0\U000105c9 \u1b4e\U0001e030 \u32ff",
}

_SPECIAL = {
    "special": "<s>Hello</s> <unk><pad> <|endoftext|>x<|im_start|>user\nhi<|im_end|>\n[CLS] [SEP]",
    "special_spaced": "  <s>  a  </s>  b  <mask>  c [MASK] d<mask>e",
    "special_broken": "<|endof text|> <|im_start <s < s> </ s> <<s>> <s</s>>",
    "special_runs": "<s><s><s></s></s><|endoftext|><|endoftext|>",
    "words_as_tokens": "newtoken renewtokens newtoken, anewtoken NEWTOKEN new token",
    "gemma": "<start_of_turn>user\nHi<end_of_turn>\n<bos><eos><unused7><unused99>[multimodal]",
}

_LONG = {
    "english": ENGLISH * 3,
    "long_word": "pneumonoultramicroscopicsilicovolcanoconiosis" * 8,
    "one_letter": "a" * 700,
    "two_letters": "ab" * 300,
    "long_number": "1234567890" * 30,
    "long_punctuation": "!?" * 120 + "=" * 90 + "-" * 80,
    "base64": "SGVsbG8gd29ybGQhIFRoaXMgaXMgYSBsb25nIHN0cmluZyB3aXRob3V0IHNwYWNlcw" * 4,
    "no_spaces": "我能吞下玻璃而不伤身体" * 12,
}

TEXTS: dict[str, str] = {
    **_SCRIPTS,
    **_EMOJI,
    **_SPACES,
    **_MARKS,
    **_CODE,
    **_NUMBERS,
    **_CONTROL,
    **_SPECIAL,
    **_LONG,
}
"""Text by name; names are unique over all groups."""

TRAINING: list[str] = [
    *(ENGLISH.split(", ") * 4),
    *(text for group in (_SCRIPTS, _EMOJI, _CODE, _NUMBERS, _MARKS) for text in group.values()),
    *("the theory of that thing they think " * 3, "a newline\n\nand  two  spaces\n    four"),
]
"""What the small tokenizers of the tests are trained on."""
