"""Errors that the user can fix, and the messages of other libraries in one line."""

_LONGEST = 2000  # characters of a message


class InputError(ValueError):
    """Bad input: a flag, a file, a checkpoint or a configuration.

    The message is one line that says what was given, what was expected, where, and what to do. The command line prints
    it without a traceback and exits with code 2. A message of more than 2000 characters loses its middle.
    """

    def __init__(self, message: object = ""):
        text = str(message)
        if len(text) > _LONGEST:
            half, left_out = _LONGEST // 2, len(text) - _LONGEST
            text = f"{text[:half]} [... {left_out} characters ...] {text[-half:]}"
        super().__init__(text)


class NoGainError(InputError):
    """No faster model was found within the accuracy that may be lost."""


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
