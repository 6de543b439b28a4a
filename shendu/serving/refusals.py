"""Why a request is not answered, as a status of HTTP and a line for the client."""

from __future__ import annotations

import math

SECONDS_LEAST, SECONDS_MOST = 1, 60
"""Of Retry-After."""


class Refused(Exception):
    """A request that is not answered; its message is told to the client."""

    def __init__(self, why: str, status: int = 400, **headers: str) -> None:
        super().__init__(why)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Busy(Refused):
    """There is no room, or the answer would come too late: ask again `after` so many seconds."""

    def __init__(self, why: str, after: float = 1.0) -> None:
        wait = max(SECONDS_LEAST, min(SECONDS_MOST, math.ceil(after)))
        super().__init__(f"{why}; ask again later", 429, retry_after=str(wait))


class TooLarge(Refused):
    """More was sent than is read."""

    def __init__(self, why: str) -> None:
        super().__init__(why, 413, connection="close")


class TooSlow(Refused):
    """What was to be sent did not come."""

    def __init__(self, why: str) -> None:
        super().__init__(why, 408, connection="close")


class Gone(Exception):
    """The client has left."""
