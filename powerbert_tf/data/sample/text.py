"""Spelling: from space-separated tokens to running text."""

import re

Texts = tuple[str, ...]


def sentence(tokens: str) -> str:
    """Returns space-separated tokens with single spaces and the first letter upper case."""
    tokens = " ".join(tokens.split())
    return tokens[:1].upper() + tokens[1:]


def detokenized(tokens: str) -> str:
    """Returns running text: `It rose , to $ 4 .` becomes `It rose, to $4.`."""
    return re.sub(r" (?=[,.?!;:]|'s\b)", "", sentence(tokens)).replace("$ ", "$")


def with_article(noun: str) -> str:
    """Returns `a` or `an` and the noun."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
