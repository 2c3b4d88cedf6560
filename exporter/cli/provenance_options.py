"""Options about where a file comes from: who signed it, which hash it has, whether its code may run."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.cli.options import Command, combine
from exporter.cli.values import PATH

if TYPE_CHECKING:
    from exporter.signing import SigningKey


PASSPHRASE = "C3D_EXPORT_KEY_PASSPHRASE"  # noqa: S105 - the variable's name
"""The environment variable with the passphrase of an encrypted key."""

trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Run a file that is code (TorchScript, .pt2, AOTInductor, TensorRT) although this tool has not written it "
    "here. Its author can then do what you can.",
)
verify_key_option = click.option(
    "--verify-key",
    "verify_keys",
    multiple=True,
    metavar="FILE|KEY",
    help="The artifact must be signed by this Ed25519 public key, or by another one given: a PEM file, or the key in "
    "base64 or hexadecimal. Code that is signed so may run. Repeatable.",
)


def expect_option(what: str) -> Callable[[Command], Command]:
    """Return the option `--expect-sha256` for `what`."""
    return click.option("--expect-sha256", metavar="HASH", help=f"The SHA-256 that {what} must have.")


artifact_hash_option = expect_option("the model file, or the manifest where that is named,")
checkpoint_hash_option = expect_option("the checkpoint")
load_options = combine(trust_option, verify_key_option)
"""What an artifact must be before it is opened: fields of `exporter.load_checks.LoadChecks`."""


def sign_key_option(*, required: bool = False) -> Callable[[Command], Command]:
    """Return the option `--sign-key`; `read_signing_key` reads its value."""
    return click.option(
        "--sign-key",
        type=PATH,
        required=required,
        metavar="KEY",
        help="Sign the manifest with this Ed25519 private key, a PEM file; its passphrase is asked for, or taken from "
        f"${PASSPHRASE}.",
    )


def read_signing_key(path: Path | None) -> SigningKey | None:
    """Read the key of `--sign-key`, and ask for its passphrase on a terminal.

    Raises:
        BadInputError, UsageError, UnavailableError: see `exporter.signing.SigningKey.read`.
    """
    if path is None:
        return None
    from exporter.signing import SigningKey

    return SigningKey.read(path, lambda: ask_passphrase(path))


def ask_passphrase(path: Path) -> str | None:
    """Return the passphrase of a key: from the environment, else as the user types it; None without a terminal."""
    if given := os.environ.get(PASSPHRASE):
        return given
    if not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(f"passphrase of {path}: ")
    except EOFError:  # Ctrl-D
        return None
