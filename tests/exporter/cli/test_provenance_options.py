"""Keys of `--sign-key` are read before anything else is done, and their passphrase is asked for on a terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.run import call
from helpers.signing_keys import write_key

from exporter.cli.provenance_options import ask_passphrase


def test_a_bad_key_ends_an_export_before_it_begins(
    keys: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.workflows.export.export", lambda *_: pytest.fail("the export began"))
    secret, _ = write_key(tmp_path, "secret", b"open sesame")
    for key, code, line in (
        (keys / "ours.pub", 3, "a public key; signing needs the private one"),
        (tmp_path / "none.key", 3, "no such private key"),
        (secret, 2, "the key is encrypted"),
    ):
        done = call("c3d-export", "--format", "onnx", "--sign-key", key, cwd=tmp_path, capture=capfd)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
        assert line in done.stderr
    monkeypatch.setenv("C3D_EXPORT_KEY_PASSPHRASE", "guess")
    done = call("c3d-export", "--format", "onnx", "--sign-key", secret, cwd=tmp_path, capture=capfd)
    assert (done.returncode, "wrong passphrase" in done.stderr) == (3, True)
    assert not os.path.lexists(tmp_path / "artifacts")


def test_ctrl_d_at_the_question_for_a_passphrase_is_no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    def end_of_file(prompt: str) -> str:
        raise EOFError(prompt)

    monkeypatch.delenv("C3D_EXPORT_KEY_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", end_of_file)
    assert ask_passphrase(Path("sign.key")) is None
