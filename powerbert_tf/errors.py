"""The one exception for what the user can put right."""


class InputError(ValueError):
    """Bad input: a flag, a file, a checkpoint or a configuration.

    The message is one line that says what was given, what was expected, where, and what to do. The command line prints
    it without a traceback and exits with code 2.
    """


class NoGainError(InputError):
    """Nothing was found that is faster within what may be lost."""
