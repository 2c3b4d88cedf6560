"""Web addresses: what is requested, what is printed, and the user and password, which are neither.

An address may hold any Unicode text. The request has its ASCII form (RFC 3987, section 3.1): the host by Python's
`idna` codec, all else percent-encoded as UTF-8; escapes that are already there stay.
"""

import base64
import contextlib
import netrc
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from models.errors import UsageError
from models.http.errors import ResponseError

FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\u0080-\u009f\u2028\u2029\ud800-\udfff]")
HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
CHANGED_BY_IDNA_2003 = re.compile("[ßς\u200c\u200d]")
"""The codec maps these to other letters, so that it would name another host than browsers (IDNA 2008) do."""
SAFE = "!#$%&'()*+,/:;=?@[]~"
SHA256_FRAGMENT = re.compile(r"sha256=([0-9a-fA-F]{64})")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
CHAIN = re.compile(r"::(?=[a-z][a-z0-9+.-]*(?:://|::|$))")
MAX_NAME_BYTES = 200
OWN_FILES = ("record.json", "part.json", "lock")


@dataclass(frozen=True)
class Address:
    """An `https://` address.

    Attributes:
        url: in ASCII, without user, password and fragment: what is requested.
        display: as it was given, without user, password, query and fragment: for messages and records.
        origin: host and port; user and password are sent to no other.
        key: what identifies the file in the cache: the address as it was given, without user and password.
        authorization: value of the `Authorization` header, from the address or `.netrc`.
    """

    url: str = field(repr=False)  # its query may be a secret
    display: str
    origin: tuple[str, int]
    key: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)


def parse_sha256(text: str) -> str:
    """Return a SHA-256 as `sha256sum` prints it.

    Raises:
        UsageError: it is none.
    """
    if not SHA256.fullmatch(text):
        raise UsageError(f"{text!r} is no SHA-256: 64 hexadecimal digits, as sha256sum prints them")
    return text.lower()


def parse_address(text: str) -> Address:
    """Read an address.

    Args:
        text: `https://[user[:password]@]host[:port]/path[?query]`. Signs of user and password that have a meaning in
            an address are percent-encoded: `p%40ss`.

    Raises:
        UsageError: it is none; the message holds no secret.
    """
    if FORBIDDEN.search(text):
        raise UsageError(f"{redact(text)}: an address has no control characters")
    try:
        parts = urlsplit(text)
        host, port = _host(parts), parts.port
    except ValueError:  # its message may quote the password
        message = "is no address: https://host/path/file; in user and password, @ is %40, / is %2F and # is %23"
        raise UsageError(f"{redact(text)} {message}") from None
    user, at, _ = parts.netloc.rpartition("@")
    url = f"https://{host}{f':{port}' if port else ''}{_encode(parts.path) or '/'}"
    if parts.query:
        url += f"?{_encode(parts.query)}"
    key = text.partition("#")[0].replace(f"{user}{at}", "", 1)
    return Address(url, redact(text), (host, port or 443), key, _basic(user) if at else _from_netrc(host))


def redirected(current: Address, location: str | None) -> Address:
    """Return the address that a redirect leads to, with user and password only for the same origin.

    Args:
        current: the address that was requested.
        location: the `Location` header, as http.client decodes it (ISO 8859-1).

    Raises:
        ResponseError: as `redirect_target` does.
    """
    try:
        found = parse_address(redirect_target(current.url, location))
    except UsageError:
        raise ResponseError("it redirects to a malformed address") from None
    return replace(found, authorization=current.authorization if found.origin == current.origin else None)


def redirect_target(url: str, location: str | None) -> str:
    """Return where a redirect leads to: from https:// to https:// only, from http:// to either.

    Args:
        url: that was requested, without user and password.
        location: the `Location` header.

    Raises:
        ResponseError: none is given, it is another address than these, it is malformed, or it holds a user.
    """
    if not location:
        raise ResponseError("it redirects without saying where to")
    with contextlib.suppress(UnicodeError):  # otherwise it is ISO 8859-1
        location = location.encode("latin-1").decode()
    if FORBIDDEN.search(location):
        raise ResponseError("it redirects to an address with control characters")
    try:
        target = urljoin(url, location).partition("#")[0]
        if not target.lower().startswith(("http://", "https://") if url.startswith("http://") else "https://"):
            raise ResponseError("it redirects to an address that is not https://")
        with_user = "@" in urlsplit(target).netloc
    except ValueError:
        raise ResponseError("it redirects to a malformed address") from None
    if with_user:
        raise ResponseError("it redirects to an address with a user name")
    return target


def file_name(url: str) -> str:
    """Return a plain file name for what is at `url`."""
    try:
        name = unquote(urlsplit(url).path, errors="replace").replace("\\", "/").rsplit("/", 1)[-1]
    except ValueError:
        name = ""
    visible = "".join(sign for sign in name if sign.isprintable())  # no controls, no changes of direction
    name = visible.encode(errors="ignore")[:MAX_NAME_BYTES].decode(errors="ignore").lstrip(".")
    return name if name and not name.endswith((".part", *OWN_FILES[:2])) and name not in OWN_FILES else "checkpoint"


def display_source(source: str | Path) -> str:
    """Return a path, or an address as `redact` does but with its `#sha256=…`, for messages and commands."""
    if not isinstance(source, str) or "://" not in source:
        return str(source)
    fragment = source.partition("#")[2]
    return redact(source) + (f"#{fragment}" if SHA256_FRAGMENT.fullmatch(fragment) else "")


def redact(address: str) -> str:
    """Return an address without user, password, query and fragment; `scheme://…` where it cannot be told apart.

    Each link of a chain of fsspec, as `simplecache::https://host/a`, is one.
    """
    if len(links := CHAIN.split(address)) > 1:
        return "::".join(redact(link) if "://" in link else link for link in links)
    scheme = address.partition("://")[0]
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
        # a password with a / or # in it ends what urlsplit takes for the host
        unclear = "@" not in parts.netloc and ":" in parts.netloc and "@" in address.removeprefix(f"{scheme}://")
    except ValueError:
        return f"{scheme}://…"
    if unclear:
        return f"{scheme}://…"
    host = parts.hostname or ""
    if scheme == "hf":
        host = parts.netloc.rpartition("@")[2]  # an owner, whose name has capital letters
    elif ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _host(parts: SplitResult) -> str:
    """Return the host in ASCII; raises ValueError where there is none."""
    host = unquote(parts.hostname or "", errors="strict")
    if CHANGED_BY_IDNA_2003.search(host) or "\\" in parts.netloc:  # browsers take \ for /
        raise ValueError
    host = f"[{host}]" if ":" in host else host.encode("idna").decode().lower()
    if not HOST.fullmatch(host):
        raise ValueError
    return host


def _encode(text: str) -> str:
    """Percent-encode what may not stand in a request, and a percent sign that begins no escape."""
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(text, safe=SAFE))


def _basic(user: str) -> str:
    """Return the header of Basic authentication (RFC 7617)."""
    name, _, password = user.partition(":")
    return "Basic " + base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()


def _from_netrc(host: str) -> str | None:
    """Return the header for a host that `$NETRC` or `~/.netrc` names."""
    try:
        path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
        found = netrc.netrc(str(path)).authenticators(host.strip("[]")) if path.is_file() else None
    except (OSError, RuntimeError, UnicodeError, netrc.NetrcParseError):
        return None
    return "Basic " + base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode() if found else None
