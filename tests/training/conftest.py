from tests.support.made_up import made_up  # noqa: F401
from tests.support.processes import corpus  # noqa: F401
