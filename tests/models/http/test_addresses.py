"""Any address that a person may copy is requested as browsers request it, and its secrets stay out of sight."""

import base64
from pathlib import Path

import pytest

from models.errors import UsageError
from models.http.addresses import display_source, file_name, parse_address, redact, redirect_target, redirected
from models.http.errors import ResponseError


@pytest.fixture(autouse=True)
def no_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("given", "requested"),
    [
        ("https://host/a/c3d.pth", "https://host/a/c3d.pth"),
        ("https://HOST:443", "https://host:443/"),
        ("https://bücher.example/c3d.pth", "https://xn--bcher-kva.example/c3d.pth"),
        ("https://b%C3%BCcher.example/", "https://xn--bcher-kva.example/"),
        ("https://例え.テスト/", "https://xn--r8jz45g.xn--zckzah/"),
        ("https://host/gewichte für c3d.pth", "https://host/gewichte%20f%C3%BCr%20c3d.pth"),
        ("https://host/a%20b%2fc?q=ü&r=a b", "https://host/a%20b%2fc?q=%C3%BC&r=a%20b"),
        ("https://host/100%.pth?100%", "https://host/100%25.pth?100%25"),
        ("https://host/a?X-Amz-Signature=a%2Fb%2B&x=1+2", "https://host/a?X-Amz-Signature=a%2Fb%2B&x=1+2"),
        ("https://host/a\\b|c", "https://host/a%5Cb%7Cc"),
        ("https://[::1]:8443/c3d.pth", "https://[::1]:8443/c3d.pth"),
        ("https://host/c3d.pth#anchor", "https://host/c3d.pth"),
    ],
)
def test_the_request_is_ascii(given: str, requested: str) -> None:
    assert parse_address(given).url == requested


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("user:p%40ss", "user:p@ss"),
        ("user:", "user:"),
        ("user", "user:"),
        ("us%3Aer:a:b", "us:er:a:b"),
        ("jürgen:schlüssel%0d%0aX: 1", "jürgen:schlüssel\r\nX: 1"),
    ],
)
def test_user_and_password_are_a_header_and_nothing_else(user: str, sent: str) -> None:
    found = parse_address(f"https://{user}@host/c3d.pth?token=s3cret#f")
    assert found.authorization == basic(sent)
    assert found.url == "https://host/c3d.pth?token=s3cret"
    assert found.display == "https://host/c3d.pth"
    assert found.key == "https://host/c3d.pth?token=s3cret"
    assert "s3cret" not in repr(found)
    assert "Basic" not in repr(found)


def test_netrc_is_read_for_its_host_only(no_netrc: Path) -> None:
    no_netrc.write_text("machine host login user password p@ss\n")
    no_netrc.chmod(0o600)
    assert parse_address("https://host/a").authorization == basic("user:p@ss")
    assert parse_address("https://host.example/a").authorization is None
    assert parse_address("https://other:x@host/a").authorization == basic("other:x")
    no_netrc.write_text("machine")
    assert parse_address("https://host/a").authorization is None


@pytest.mark.parametrize(
    "given",
    [
        "https://",
        "https:///c3d.pth?token=s3cret",
        "https://[",
        "https://user:s3cret@/c3d.pth",
        "https://user:s3cret/@host/c3d.pth",
        "https://user:s3cret#@host/c3d.pth",
        "https://user:s3cret@host:99999/c3d.pth",
        "https://user:s3cret@ho\u2100st/c3d.pth",
        "https://user:s3cret@host\\@other/c3d.pth",
        "https://ho st/?token=s3cret",
        "https://host/?\r\nX: s3cret",
        "https://host/c3d.pth?s3cret\x1b[2J",
        "https://host/\u2028?s3cret",
        "https://host/\udc80?s3cret",
        "https://straße.example/?s3cret",
        "https://" + "a" * 64 + ".example/?s3cret",
        "https://..example/?s3cret",
    ],
)
def test_what_is_no_address_is_wrong_usage_without_its_secrets(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(given)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None  # a traceback shows nothing more


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:pw@Host/a/b.mp4?sig=1#x", "https://host/a/b.mp4"),
        ("https://host:8443/a", "https://host:8443/a"),
        ("https://[::1]:1/a", "https://[::1]:1/a"),
        ("https://user:1#pw@host/a", "https://…"),
        ("https://user:1?pw@host/a", "https://…"),
        ("https://user:1/pw@host/a", "https://…"),  # an address of the host `user`, but hardly meant
        ("hf://user:pw@Owner/repo/c3d.pth?x", "hf://Owner/repo/c3d.pth"),
        ("s3://key:pw@bucket/a", "s3://bucket/a"),
        ("simplecache::s3://key:pw@bucket/a?x", "simplecache::s3://bucket/a"),
        ("zip://a.mp4::https://u:pw@[fe80::a]/b.zip?x", "zip://a.mp4::https://[fe80::a]/b.zip"),
    ],
)
def test_secrets_are_not_shown(address: str, shown: str) -> None:
    assert redact(address) == shown


def test_a_hash_is_no_secret() -> None:
    pinned = f"#sha256={'0' * 64}"
    assert display_source(f"https://user:pw@host/a?x=1{pinned}") == f"https://host/a{pinned}"
    assert display_source("https://host/a#sha256=1") == "https://host/a"
    assert display_source("a#b") == "a#b"
    assert display_source(Path("a/b")) == "a/b"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b", "https://host/b"),
        ("b?x=1", "https://host/a/b?x=1"),
        ("?x=1", "https://host/a/c3d.pth?x=1"),
        ("//host/b", "https://host/b"),
        ("https://HOST:443/b#fragment", "https://host:443/b"),
        ("../../b", "https://host/b"),
        ("/b\u00c3\u00bc", "https://host/b%C3%BC"),  # UTF-8, read as ISO 8859-1
        ("/b\u00fc", "https://host/b%C3%BC"),  # ISO 8859-1
    ],
)
def test_a_redirect_within_the_origin_keeps_the_password(location: str, target: str) -> None:
    found = redirected(parse_address("https://user:pw@host/a/c3d.pth"), location)
    assert (found.url, found.authorization) == (target, basic("user:pw"))


@pytest.mark.parametrize("location", ["https://other/b", "//other/b", "https://host:8443/b", "https://sub.host/b"])
def test_a_redirect_to_another_origin_loses_it(location: str) -> None:
    assert redirected(parse_address("https://user:pw@host/a"), location).authorization is None


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (None, "without saying where to"),
        ("", "without saying where to"),
        ("http://host/b", "not https://"),
        ("HTTP://host/b", "not https://"),
        ("file:///etc/passwd", "not https://"),
        ("ftp://host/b", "not https://"),
        ("data:,x", "not https://"),
        ("javascript:alert(1)", "not https://"),
        ("https://user:s3cret@host/b", "with a user name"),
        ("//user@host/b", "with a user name"),
        ("/b\r\nX-Injected: 1", "control characters"),
        ("/b\x00", "control characters"),
        ("https://[", "malformed"),
        ("https://ho st/", "malformed"),
        ("https://host:s3cret/", "malformed"),
    ],
)
def test_a_redirect_that_is_refused(location: str | None, reason: str) -> None:
    with pytest.raises(ResponseError, match=reason) as caught:
        redirected(parse_address("https://host/a"), location)
    assert "s3cret" not in str(caught.value)


def test_a_redirect_from_plain_http_may_stay_there_or_leave_it_for_https() -> None:
    assert redirect_target("http://host/a", "/b") == "http://host/b"
    assert redirect_target("http://host/a", "https://other/b#c") == "https://other/b"
    with pytest.raises(ResponseError, match="not https://"):
        redirect_target("http://host/a", "file:///etc/passwd")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x/a/c3d.pth", "c3d.pth"),
        ("https://x/..%2f..%2fetc%2fpasswd", "passwd"),
        ("https://x/", "checkpoint"),
        ("https://x/..", "checkpoint"),
        ("https://x/%00a%0ab%C2%9B.pth", "ab.pth"),
        ("https://x/c3d%E2%80%AEhtp.exe", "c3dhtp.exe"),
        ("https://x/.bashrc", "bashrc"),
        ("https://x/record.json", "checkpoint"),
        ("https://x/part.json", "checkpoint"),
        ("https://x/lock", "checkpoint"),
        ("https://x/c3d.part", "checkpoint"),
        ("https://x/my-record.json", "checkpoint"),
        ("https://x/one-block", "one-block"),
        ("https://x/" + "a" * 500, "a" * 200),
        ("https://x/a%5Cb.pt", "b.pt"),
        ("https://x/gewichte%20f%C3%BCr.pt?token=s3cret", "gewichte für.pt"),
    ],
)
def test_names_stay_in_the_cache(url: str, name: str) -> None:
    assert file_name(url) == name
