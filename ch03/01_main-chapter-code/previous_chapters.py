# GENERATED from ch02/01_main-chapter-code/ch02.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

from collections.abc import Iterable

import regex

# ---- ch02: text_data ----

WORD = regex.compile(r"<\|\w+\|>|\w+(?:['’]\w+)*|[^\w\s]")

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unk|>"


class SimpleTokenizer:
    """A number for every word and punctuation mark of one text."""

    def __init__(self, vocab: dict[str, int]):
        self.vocab = vocab
        self.words = {i: word for word, i in vocab.items()}

    @classmethod
    def from_text(cls, text: str) -> "SimpleTokenizer":
        words = sorted(set(WORD.findall(text)) - {END_OF_TEXT, UNKNOWN})
        words += [END_OF_TEXT, UNKNOWN]
        return cls({word: i for i, word in enumerate(words)})

    def encode(self, text: str) -> list[int]:
        unknown = self.vocab[UNKNOWN]
        return [self.vocab.get(w, unknown) for w in WORD.findall(text)]

    def decode(self, ids: Iterable[int]) -> str:
        text = " ".join(self.words[int(i)] for i in ids)
        return regex.sub(r" ([.,:;?!)’”])", r"\1", text)
