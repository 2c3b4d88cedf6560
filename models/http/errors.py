"""What can be wrong with a response. Messages name no address: callers put in front what they display of it."""


class ResponseError(Exception):
    """What a server sends is not what was asked for. No OSError: to ask again would not help."""


class ChangedError(Exception):
    """The rest of a file was asked for, and the server has another file, or sends another part."""


class SlowError(TimeoutError):
    """A limit was reached; the message names it."""


class DeadlineError(SlowError):
    """The time for the whole transfer is over."""
