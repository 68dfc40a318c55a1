"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A path, a flag or a file is not as it should be.

    The message is one line: what is wrong, where, and what to do. The command
    line prints it and exits with status 2, without a traceback.
    """
