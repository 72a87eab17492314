"""Text that may hold broken characters or raw bytes."""

import regex

SURROGATE = regex.compile(r"[\ud800-\udfff]")


def as_text(text: str | bytes) -> str:
    """Ordinary text as it is; raw bytes and broken characters as str.

    Bytes that are not UTF-8 travel as surrogates (Python's PEP 383). In a
    str a surrogate is no character and becomes U+FFFD, as in tiktoken.
    """
    if isinstance(text, bytes):
        return text.decode("utf-8", "surrogateescape")
    if SURROGATE.search(text):
        pairs = text.encode("utf-16", "surrogatepass")
        return pairs.decode("utf-16", "replace")
    return text
