from tests.support.made_up import made_up  # noqa: F401
