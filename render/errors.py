"""The exception that means 'the input is at fault'."""


class InputError(ValueError):
    """Bad input: a sentence that says what was expected, what was found and what to do.

    The command line prints the sentence and ends with exit code 2; any other failure ends with 1.
    """
