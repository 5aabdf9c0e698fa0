"""Which files a flag names."""

import glob
import os

from powerbert_tf.common.errors import InputError


def find_files(given: str, flag: str) -> list[str]:
    """The files that a flag names.

    Args:
        given: A path, a glob such as `parts/*.csv`, or several with commas between. A path that exists is itself,
            whatever characters it has.
        flag: Name of the flag, for messages.

    Returns:
        Paths; those of a glob in alphabetical order.

    Raises:
        InputError: There is no such file, or two of them are one.
    """
    if os.path.exists(given):
        return [given]
    found: list[str] = []
    for part in given.split(","):
        part = part.strip()
        if not part:
            continue
        matches = [part] if os.path.exists(part) else sorted(glob.glob(part, recursive=True))
        if not matches:
            raise InputError(
                f"--{flag}={given}: {part}: no such file; expected a file, several with commas between, or a glob."
            )
        found += matches
    if not found:
        raise InputError(f"--{flag}={given}: expected a file, several with commas between, or a glob.")
    for path in found:
        if found.count(path) > 1:
            raise InputError(f"--{flag}={given}: {path} is named twice; expected each file once.")
    return found
