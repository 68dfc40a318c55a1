"""The exception for a mistake that the user can correct."""


class UserError(Exception):
    """A path, an option or a file is wrong.

    The message is one line: what is wrong, where, and what to do. The command
    line prints it and exits with status 2, without a traceback.
    """
