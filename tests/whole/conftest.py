from tests.support.command_line import fails  # noqa: F401
