"""What a library says of a URL is shown without anything that may be a secret."""

import pytest

from exporter.remote.errors import cause, describe


@pytest.mark.parametrize(
    ("said", "url", "shown"),
    [
        ("cannot reach s3://key:pw@bucket/a?x=1 now", "memory://a", "cannot reach s3://bucket/a now"),
        ("no https://host/a?sig=abc\nsecond", "https://host/a?sig=abc", "no https://host/a second"),
        ("bad password p@ss, sent as p%40ss", "https://user:p%40ss@host/a", "bad password …, sent as …"),
        ("token s3cret expired", "https://host/a?token=s3cret", "token … expired"),
        ("", "https://host/a", "RuntimeError"),
        ("x" * 1000, "https://host/a", "x" * 300),
    ],
)
def test_a_message(said: str, url: str, shown: str) -> None:
    assert describe(RuntimeError(said), url) == shown


def test_a_traceback_ends_where_a_message_may_hold_a_secret() -> None:
    error = RuntimeError("https://host/a?token=s3cret")
    assert cause(error, "https://host/a?token=s3cret") is None
    assert cause(error, "https://user:pw1@host/a") is None
    assert cause(error, "https://host/a") is error
