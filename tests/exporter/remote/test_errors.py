"""What a library says of a URL is shown without anything that may be a secret."""

import pytest

from exporter.errors import BadInputError, UnavailableError
from exporter.remote.errors import cause, describe, translate


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


class NoCredentialsError(Exception):
    """As botocore's is called."""


class ResponseError(Exception):
    """As aiohttp's: with the status of a response."""

    def __init__(self, status: int) -> None:
        self.status = status


@pytest.mark.parametrize(
    "error", [NoCredentialsError(), PermissionError(13, "x"), ResponseError(401), ResponseError(403)]
)
def test_denied_access_is_said_whatever_the_library_calls_it(error: Exception) -> None:
    assert describe(error, "s3://bucket/a").startswith("access is denied; check that the credentials")


@pytest.mark.parametrize("error", [FileNotFoundError(2, "x"), ResponseError(404)])
def test_a_missing_file_is_said_whatever_the_library_calls_it(error: Exception) -> None:
    assert describe(error, "s3://bucket/a") == "there is no such file"


def import_error(message: str, name: str | None = None, first: str | None = None) -> ImportError:
    error = ImportError(message, name=name)
    error.__cause__ = None if first is None else ModuleNotFoundError(first, name=first)
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (import_error("Install s3fs to access S3", first="s3fs"), "s3fs is not installed; pip install s3fs"),
        (import_error("x", name="gcsfs.core"), "gcsfs is not installed; pip install gcsfs"),
        (import_error("x", first="aiohttp"), "aiohttp is not installed; pip install 'c3d-export"),
        (import_error("install foo for foo://"), "cannot be imported: install foo for foo://"),
    ],
)
def test_a_missing_library_is_named_with_how_to_install_it(error: ImportError, told: str) -> None:
    with pytest.raises(UnavailableError) as caught, translate("foo://a", "", BadInputError):
        raise error
    assert told in str(caught.value)
