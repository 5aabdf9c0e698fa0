"""The exceptions for what the user can put right, and other libraries' messages in one line."""

_LONGEST = 2000  # characters of a message


class InputError(ValueError):
    """Bad input: a flag, a file, a checkpoint or a configuration.

    The message is one line that says what was given, what was expected, where, and what to do. The command line prints
    it without a traceback and exits with code 2. What was given may be very long: of a message of more than 2000
    characters, the middle is left out.
    """

    def __init__(self, message: object = ""):
        super().__init__(_shortened(str(message)))


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    left_out = len(text) - _LONGEST
    return f"{text[: _LONGEST // 2]} [... {left_out} characters ...] {text[len(text) - _LONGEST // 2 :]}"


class NoGainError(InputError):
    """Nothing was found that is faster within what may be lost."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
