"""How texts become codes of words, as a file of the library `tokenizers` says it: for who uses an exported model.

Patterns are Oniguruma's, which that library reads. Of HTML's entities those in ENTITIES are known to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shendu.data.words import ALONE, JOINERS, MARKS, PADDING, SPACE, UNKNOWN

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

NOTHING, STRANGER = "[PAD]", "[UNK]"
"""What stands for no word, and for one that is not in the vocabulary."""
KNOWN = 2
ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&apos;": "'", "&nbsp;": " ", "&amp;": "&"}
TAG = "</?[a-zA-Z][^<>]{0,200}>"
_LETTER = rf"[\w{MARKS}&&[^_{ALONE}]]"
_WORD = rf"{_LETTER}{{1,40}}(?:'{_LETTER}{{1,40}})*|[{ALONE}]|[!?]"
_CELL_LETTER = rf"[\p{{L}}\p{{N}}{MARKS}&&[^{ALONE}]]"
_CELL_WORD = rf"{_CELL_LETTER}(?:(?:{_CELL_LETTER}|')*{_CELL_LETTER})?|[{ALONE}]|[!?]"


def of_texts(names: tuple[str, ...]) -> Tokenizer:
    """Whole texts as `words.words` cuts them."""
    from tokenizers import Regex, normalizers

    plain = [normalizers.Replace(written, meant) for written, meant in ENTITIES.items()]
    return _made(
        names, [normalizers.Replace(Regex(TAG), " "), *plain, *_unified(), *_quoted(), normalizers.Lowercase()], _WORD
    )


def of_cells(names: tuple[str, ...]) -> Tokenizer:
    """A table's cells as `cells.split_words` cuts them."""
    from tokenizers import Regex, normalizers

    left_out = normalizers.Replace(Regex(rf"{TAG}|&#?\w{{1,10}};|'{{2,}}"), " ")
    return _made(names, [*_unified(), *_quoted(), left_out, normalizers.Lowercase()], _CELL_WORD)


def of_letters(names: tuple[str, ...]) -> Tokenizer:
    """Texts letter by letter, as `words.letters` has them."""
    from tokenizers import Regex, normalizers

    spaces = [normalizers.Strip(), normalizers.Replace(Regex(r"\s+"), SPACE)]
    return _made(names, [*_unified(), normalizers.Lowercase(), *spaces], ".")


def _unified() -> list[Normalizer]:
    from tokenizers import Regex, normalizers

    return [normalizers.Replace(Regex(f"[{JOINERS}]"), ""), normalizers.NFKC()]


def _quoted() -> list[Normalizer]:
    from tokenizers import normalizers

    return [normalizers.Replace("\u2019", "'")]


def _made(names: tuple[str, ...], rules: list[Normalizer], kept: str) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {NOTHING: PADDING, STRANGER: UNKNOWN, **{name: KNOWN + i for i, name in enumerate(names)}}
    made = Tokenizer(models.WordLevel(vocabulary, STRANGER))
    made.normalizer = normalizers.Sequence(rules)
    made.pre_tokenizer = pre_tokenizers.Split(Regex(kept), "removed", invert=True)
    return made
