"""Secrets in the environment go no further than they must."""

import os
import sys
from pathlib import Path

import pytest
from helpers.run import python
from helpers.supervised import ends

from exporter.isolation.environment import drop_secrets, is_secret


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AZURE_CLIENT_ID", "DB_PASSWORD"),
        *("OPENAI_API_KEY", "STRIPE_APIKEY", "GOOGLE_APPLICATION_CREDENTIALS", "SSH_AUTH_SOCK", "MY_PRIVATE_KEY"),
        *("client_secret", "DATABASE_URL", "AZURE_STORAGE_CONNECTION_STRING"),
    ],
)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LANG", "TOKENIZERS_PARALLELISM", "KEYBOARD", "OMP_NUM_THREADS", "LD_LIBRARY_PATH"),
        *("C3D_EXPORT_KEY_PASSPHRASE", "CUDA_VISIBLE_DEVICES", "HTTPS_PROXY", "MONKEY", "PASSENGERS"),
    ],
)
def test_what_the_tool_and_its_libraries_need_stays(name: str) -> None:
    assert not is_secret(name)


def test_secrets_are_dropped_for_local_files_and_kept_for_remote_ones(tmp_path: Path) -> None:
    local, remote = tmp_path / "local.txt", tmp_path / "remote.txt"
    local.write_text("a.mp4\n")
    remote.write_text("a.mp4\ns3://bucket/b.mp4\n")
    for arguments, dropped in (
        (["predict", "m.onnx", "a.mp4", str(local)], ("HF_TOKEN",)),
        (["predict", "m.onnx", "https://host/v.mp4"], ()),
        (["export", "--weights=hf://owner/repo/f"], ()),
        (["predict", "m.onnx", str(remote)], ()),
        (["export", f"--clip={remote}"], ()),
        (["predict", "m.onnx", str(tmp_path / "missing.txt")], ("HF_TOKEN",)),
    ):
        variables = {"HF_TOKEN": "a", "PATH": "/bin"}
        assert drop_secrets(arguments, variables) == dropped
        assert ("HF_TOKEN" in variables) is not bool(dropped)
        assert variables["PATH"] == "/bin"


def test_a_pipe_that_is_called_a_list_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "videos.txt")
    variables = {"HF_TOKEN": "secret"}
    assert drop_secrets(["predict", str(tmp_path / "videos.txt")], variables) == ("HF_TOKEN",)


OPTIONS = """
import os, resource, subprocess, sys, time
from exporter.isolation.environment import adopt_orphans, cpu_limit, end_with_parent, forbid_core_dumps
resource.setrlimit(resource.RLIMIT_CPU, (1000, 2000))
forbid_core_dumps()
print(cpu_limit(), resource.getrlimit(resource.RLIMIT_CORE)[0])
adopt_orphans()
end_with_parent(os.getppid())
reading, writing = os.pipe()
if not os.fork():
    if not os.fork():
        os.read(reading, 1)
        os.write(1, f"{os.getppid()}\\n".encode())
        os._exit(0)
    os._exit(0)
os.wait()
os.write(writing, b"x")
os.wait()
print(os.getpid(), flush=True)
for parent in (None, os.getpid(), 1):  # the last one is not the parent
    if not os.fork():
        end_with_parent(parent)
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_what_the_system_is_told_of_a_process(tmp_path: Path) -> None:
    done = python(OPTIONS, cwd=tmp_path)
    limits, adopted_by, process, *ended = done.stdout.splitlines()
    assert limits == "1000 0"
    assert adopted_by == process
    assert ended == ["7", "7", "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    code = "; ".join(
        [
            "import os, time",
            "from exporter.isolation.environment import end_with_parent",
            "reading, writing = os.pipe()",
            "child = os.fork()",
            "child or (end_with_parent(), os.write(writing, b'x'), time.sleep(100))",
            "os.read(reading, 1)",
            "print(child, flush=True)",
        ]
    )
    assert ends(int(python(code, cwd=tmp_path).stdout))
