"""Words of messages."""


def counted(count: int, noun: str) -> str:
    """Returns a number with its noun: `1 row`, `1,009 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
