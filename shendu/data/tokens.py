"""Tokenizers: what pieces a text is read in. Characters, or byte-level BPE (Sennrich et al. 2016; Radford et al. 2019).

A tokenizer is kept in a run as JSON: its pieces, and for BPE the merges in their order; nothing in it names code.

Shape letters: N tokens of a text, V vocabulary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from shendu import untrusted
from shendu.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

UNKNOWN = 0
"""Code of a character that the training text does not have."""
STRANGER = "[UNK]"
"""What the library calls such a character."""
CHARACTERS_MOST, BPE_LEAST, BPE_MOST = 50_000, 257, 1_000_000
FILE_BYTES_MOST = 1 << 27
_PIECE = 1 << 16
"""Characters that BPE is handed at once while it is trained."""


class Tokenizer(Protocol):
    """Text <-> numbers of its pieces."""

    words: str
    """What its pieces are."""

    @property
    def size(self) -> int:
        """How many different tokens there are, V."""
        ...

    @property
    def pieces(self) -> list[bytes]:
        """What each token stands for, in UTF-8; a token may hold a part of a character."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """int32 [N]."""
        ...

    def library(self) -> Library:
        """The same as the library `tokenizers` has it, which others read (tokenizer.json)."""
        ...

    def to_json(self) -> dict[str, Any]: ...


class Characters:
    """A token per character of the training text, in the order of Unicode; 0 is any other character."""

    words = "characters"

    def __init__(self, letters: str) -> None:
        self.letters = letters
        self._codes = np.array(sorted(map(ord, letters)), np.uint32)
        if len(set(letters)) != len(letters) or [ord(letter) for letter in letters] != self._codes.tolist():
            raise UserError("the letters of a tokenizer must be different ones in the order of Unicode")

    @classmethod
    def of(cls, text: str) -> Characters:
        """The characters of a text; raises UserError where there are too many to be letters."""
        letters = "".join(map(chr, np.unique(_code_points(text)).tolist()))
        if len(letters) > CHARACTERS_MOST:
            raise UserError(
                f"the text has {len(letters):,} different characters; read it in pieces: --set tokenizer=bpe:8000"
            )
        return cls(letters)

    @property
    def size(self) -> int:
        return 1 + len(self.letters)

    @cached_property
    def pieces(self) -> list[bytes]:
        return ["\ufffd".encode(), *(letter.encode() for letter in self.letters)]

    def encode(self, text: str) -> np.ndarray:
        points = _code_points(text)
        places = np.searchsorted(self._codes, points).clip(max=len(self._codes) - 1)
        return np.where(self._codes[places] == points, places + 1, UNKNOWN).astype(np.int32)

    def library(self) -> Library:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

        vocabulary = {STRANGER: UNKNOWN, **{letter: 1 + i for i, letter in enumerate(self.letters)}}
        made = Tokenizer(models.WordLevel(vocabulary, STRANGER))
        made.pre_tokenizer = pre_tokenizers.Split(Regex("(?m)."), "isolated")
        made.decoder = decoders.Fuse()
        return made

    def to_json(self) -> dict[str, Any]:
        return {"kind": "characters", "letters": self.letters}


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


# ---- byte-level BPE --------------------------------------------------------------------------------------------------


def _alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in a vocabulary's file (Radford et al. 2019) -> the byte."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + i): byte for i, byte in enumerate(others)}


ALPHABET = _alphabet()


class BPE:
    """Byte-level BPE: every text can be written, since single bytes are tokens too.

    `tokens` are in the order of their numbers, written in the alphabet that stands for bytes; `merges` are pairs of them
    in the order in which they are joined.
    """

    words = "pieces of a few bytes (BPE)"

    def __init__(self, tokens: list[str], merges: list[tuple[str, str]]) -> None:
        self.tokens, self.merges = tokens, merges
        known = set(tokens)
        if len(known) != len(tokens):
            raise UserError("the tokens of a vocabulary must be different ones")
        if not ALPHABET.keys() <= known:
            raise UserError("the vocabulary of a byte-level tokenizer must hold all 256 bytes")
        for one, other in merges:
            if not {one, other, one + other} <= known:
                raise UserError(f"the merge '{one} {other}' is of tokens that are not in the vocabulary")

    @classmethod
    def of(cls, text: str, size: int) -> BPE:
        """Trained on a text: the 256 bytes, then the most frequent pairs of what there is, until there are `size` tokens."""
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        trained = Tokenizer(models.BPE())
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(ALPHABET), show_progress=False)
        trained.train_from_iterator(_lines(text), trainer)
        return cls(*_read(json.loads(trained.to_str())["model"]))

    @classmethod
    def from_folder(cls, folder: Path) -> BPE:
        """A published tokenizer: tokenizer.json, or vocab.json with merges.txt. Raises UserError for what is none, and for
        one that cuts a text in another way before it joins bytes."""
        whole, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
        said = _json(whole) if whole.is_file() else {}
        if whole.is_file():
            model = said.get("model") if isinstance(said, dict) else None
        elif vocabulary.is_file() and merges.is_file():
            lines = _text(merges).splitlines()
            model = {
                "vocab": _json(vocabulary),
                "merges": [line for line in lines if line and not line.startswith("#version")],
            }
        else:
            raise UserError(f"{folder} holds no tokenizer: neither tokenizer.json nor vocab.json with merges.txt")
        try:
            found = cls(*_read(model))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder} holds a tokenizer of another kind than byte-level BPE ({error})") from None
        if said:
            _check_cuts(said, whole)
        return found

    @property
    def size(self) -> int:
        return len(self.tokens)

    @cached_property
    def pieces(self) -> list[bytes]:
        return [_bytes_of(token) for token in self.tokens]

    def library(self) -> Library:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        vocabulary = {token: i for i, token in enumerate(self.tokens)}
        made = Tokenizer(models.BPE(vocabulary, self.merges))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        return made

    @cached_property
    def _library(self) -> Library:
        return self.library()

    def encode(self, text: str) -> np.ndarray:
        pieces = self._library.encode_batch(list(_lines(text)), add_special_tokens=False)
        return np.concatenate([np.empty(0, np.int32), *(np.array(piece.ids, np.int32) for piece in pieces)])

    def encode_each(self, texts: Sequence[str]) -> list[list[int]]:
        """Many short texts, each by itself."""
        return [piece.ids for piece in self._library.encode_batch(list(texts), add_special_tokens=False)]

    def to_json(self) -> dict[str, Any]:
        return {"kind": "bpe", "tokens": self.tokens, "merges": [list(pair) for pair in self.merges]}


_CUT = re.compile(r"(?<=\S)(?=\n\S)")
"""Where a text can be cut without any token being cut: before a line's end between two characters that are no spaces."""


def _lines(text: str) -> Iterator[str]:
    """A text in pieces that are read alone as they are read together."""
    begin = 0
    while begin < len(text):
        found = _CUT.search(text, begin + _PIECE)
        end = found.start() if found else len(text)
        yield text[begin:end]
        begin = end


def _bytes_of(token: str) -> bytes:
    """A token's bytes; one that is not written in the alphabet (an added word) stands for itself."""
    return bytes(ALPHABET[letter] for letter in token) if set(token) <= ALPHABET.keys() else token.encode()


CUTS = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
"""How GPT-2 cuts a text into words before it joins bytes, as a tokenizer's file says it."""


def _check_cuts(said: dict[str, Any], path: Path) -> None:
    """Raises UserError where a tokenizer's file has a text cut in another way than it is cut here."""
    cuts = said.get("pre_tokenizer")
    cuts = {"use_regex": True, **cuts} if isinstance(cuts, dict) else {}
    if said.get("normalizer") or any(cuts.get(key) != value for key, value in CUTS.items()):
        raise UserError(
            f"{path} cuts or changes a text otherwise than GPT-2 does, which is not known here; name the folder of a "
            "tokenizer whose pre_tokenizer is ByteLevel, without a prefix space, and whose normalizer is null"
        )


def _read(model: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens by number, and merges, of a model in a tokenizer's file; raises what a wrong one makes Python raise."""
    vocabulary: dict[str, int] = model["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError("its tokens are not numbered 0, 1, 2, …")
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return tokens, [(str(one), str(other)) for one, other in pairs]


def _text(path: Path) -> str:
    try:
        return untrusted.regular(path, FILE_BYTES_MOST).decode("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); fetch it again") from None


def _json(path: Path) -> Any:
    try:
        return untrusted.parsed(_text(path))
    except untrusted.Unreadable as error:
        raise UserError(f"{path} is no sound JSON ({error}); fetch it again") from None


# ---- by name ---------------------------------------------------------------------------------------------------------


def tokenizer(name: str, text: str) -> Tokenizer:
    """`characters`, `bpe:1000` (trained on the text), or the folder of a published one; raises UserError."""
    if name == "characters":
        return Characters.of(text)
    if found := re.fullmatch(r"bpe:(\d{1,9})", name):
        size = int(found.group(1))
        if not BPE_LEAST <= size <= BPE_MOST:
            raise UserError(
                f"tokenizer={name}: the bytes alone are 256 tokens, and {BPE_MOST:,} are the most; write bpe:1000"
            )
        return BPE.of(text, size)
    if Path(name).is_dir():
        return BPE.from_folder(Path(name))
    raise UserError(f"unknown tokenizer '{name}'; write characters, bpe:1000, or the folder that holds tokenizer.json")


def from_json(values: dict[str, Any]) -> Tokenizer:
    """The tokenizer again; raises UserError for what is none."""
    try:
        if values["kind"] == "characters":
            return Characters(str(values["letters"]))
        if values["kind"] == "bpe":
            return BPE([str(token) for token in values["tokens"]], [(str(a), str(b)) for a, b in values["merges"]])
    except (KeyError, TypeError, ValueError):
        pass
    raise UserError("task.json holds no tokenizer that is known here; train again")
