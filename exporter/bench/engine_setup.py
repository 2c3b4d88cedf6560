"""What engines run: the network in torch, the plain graph, what MNN's converter makes of it."""

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
from exporter.artifacts.loading import LoadedArtifact, rebuild_network
from exporter.artifacts.store import translate_os_errors
from exporter.bench.inputs import Feeds, matching_names
from exporter.bench.targets import ENGINE_SPECS, LIBRARIES, THIS_PYTHON, BenchTarget, EngineSpec
from exporter.bench.types import BenchRequest, Skipped
from exporter.bench.worker_client import child_environment
from exporter.errors import ArtifactError, C3DExportError, OutputError, UsageError
from exporter.formats import FORMATS, WriteRequest
from exporter.onnx_io.signature import read_signature
from exporter.types import DEFAULT_OPSET
from models.built_model import BuiltModel
from models.progress import Progress
from models.specs import Signature

CONVERT_MNN = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
"""What `MNN.tools.mnnconvert` runs, without its report of each conversion to its makers."""
CONVERSION_TIMEOUT_S = 600
LOOKUP_TIMEOUT_S = 60


class EngineSetup:
    """Makes what engines run, each thing once and only if it is needed."""

    def __init__(
        self,
        request: BenchRequest,
        first: LoadedArtifact,
        signature: Signature | None,
        feeds: Feeds,
        plain: Path | None,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.request, self.first, self.signature, self.feeds = request, first, signature, feeds
        self.plain, self.folder, self.progress = plain, folder, progress
        self.notes: tuple[str, ...] = ()
        self._built: BuiltModel | None = None

    def prepare(self, *, plain_takes_part: bool) -> tuple[tuple[BenchTarget, ...], tuple[Skipped, ...]]:
        """Return the engines that can take part, and the others with the reason.

        Args:
            plain_takes_part: the plain graph is one of the artifacts, so onnxruntime need not run it once more.
        """
        engines: list[BenchTarget] = []
        missing: list[Skipped] = []
        for spec in ENGINE_SPECS:
            interpreter = self.request.engine_python.get(spec.name, THIS_PYTHON)
            if spec.name == "onnxruntime" and plain_takes_part and interpreter == THIS_PYTHON:
                continue
            if self.request.device not in spec.devices:
                missing.append(Skipped(spec.title, f"runs on {', '.join(spec.devices)} only", added=True))
            elif reason := missing_reason(spec, interpreter):
                missing.append(Skipped(spec.title, reason, added=True))
            else:
                try:
                    with translate_os_errors(self.folder):
                        engines.append(self._make_target(spec, interpreter))
                except (C3DExportError, subprocess.SubprocessError) as error:
                    missing.append(Skipped(spec.title, str(error), added=True))
        self._built = None  # whose memory the measurements should have
        return tuple(engines), tuple(missing)

    def _make_target(self, spec: EngineSpec, interpreter: Path) -> BenchTarget:
        job: dict[str, Any] = {**spec.job, "device": self.request.device}
        if spec.runs == "network":
            model = self._network()
            job |= {"architecture": model.architecture, "settings": dict(model.settings)}
            job |= {"root": str(Path(models.__file__).parents[1]), "inputs": [model.input.name]}
            job |= {"outputs": list(self._outputs()), "path": str(self._state())}
            file = model.title
        else:
            plain = self._plain()
            signature = read_signature(plain)
            job |= {"inputs": list(matching_names(plain, self.feeds, signature))}
            job |= {"outputs": [output.name for output in signature.outputs]}
            job |= {"path": str(plain if spec.runs == "plain" else self._mnn(plain, interpreter))}
            file = "the plain graph" if plain.parent == self.folder else str(plain)
        # inductor keeps what it compiled between runs, and its load time would depend on what ran before
        scratch = {"TORCHINDUCTOR_CACHE_DIR": tempfile.mkdtemp(dir=self.folder)} if spec.name == "inductor" else {}
        return BenchTarget(
            spec.title, file, spec.engine, job, interpreter, added=True, install=spec.install, environment=scratch
        )

    def _network(self) -> BuiltModel:
        if self.first.manifest is None and self.request.reference.weights is None:
            raise UsageError(
                f"{self.first.path.name} has no manifest that says what network it is; --weights FILE does"
            )
        if self._built is None:
            self.progress("building the network for the peers")
            self._built, self.notes = rebuild_network(self.first, self.request.reference, self.progress)
        if len(self.feeds.inputs) != 1 or self.feeds.sizes(1).popitem()[1][1:] != self._built.input.shape[1:]:
            raise UsageError(f"{self.first.path.name} takes another input than {self._built.title}")
        return self._built

    def _outputs(self) -> tuple[str, ...]:
        """Return the first artifact's outputs, as far as the network has them by name, else its default outputs."""
        model = self._network()
        known = {output.name for output in model.outputs}
        stated = self.signature.outputs if self.signature else ()
        named = tuple(output.name for output in stated if output.name in known)
        return tuple(output.name for output in model.select(named or None))

    def _plain(self) -> Path:
        """Return the plain graph: an artifact that is one, or the network exported now."""
        if self.plain is None:
            model = self._network()
            if self.first.manifest is None:
                raise UsageError(
                    f"{self.first.path.name} has no manifest to export the plain graph by; --engine-model FILE does"
                )
            self.progress("writing the plain graph for the peers")
            manifest = replace(self.first.manifest.embedded(), format="onnx", options={"target": "portable"})
            manifest = replace(manifest, signature=model.signature(self._outputs(), manifest.signature.batch))
            (candidate,) = FORMATS["onnx"].candidates(model, WriteRequest("plain", manifest, DEFAULT_OPSET))
            written = candidate.write(self.folder, ())
            self.plain = self.folder / written.files[0].name
        return self.plain

    def _state(self) -> Path:
        path = self.folder / "network.pt"
        if not path.exists():
            import torch

            try:
                torch.save(self._network().network.state_dict(), path)
            except RuntimeError as error:  # torch does not say why; a full disk it is, in all likelihood
                path.unlink(missing_ok=True)
                raise OutputError(f"cannot write {path}: {error}") from error
        return path

    def _mnn(self, plain: Path, interpreter: Path) -> Path:
        """Convert the plain graph by MNN's own converter, under the interpreter that has MNN.

        Raises:
            ArtifactError: the converter refuses it.
        """
        self.progress("converting the plain graph for MNN")
        target = self.folder / "plain.mnn"
        command = [str(interpreter), "-c", CONVERT_MNN, "-f", "ONNX", "--modelFile", str(plain.resolve())]
        done = subprocess.run(  # noqa: S603 - the interpreter is the user's own choice
            [*command, "--MNNModel", str(target), "--bizCode", "bench"],
            env=child_environment(interpreter),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CONVERSION_TIMEOUT_S,
            check=False,
        )
        if not target.is_file():
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise ArtifactError(f"MNN's converter refuses the plain graph: {said[-1] if said else 'no reason given'}")
        return target


def missing_reason(spec: EngineSpec, interpreter: Path) -> str | None:
    """Say why an engine's library is not there, before anything is made for it; None where it is."""
    module = LIBRARIES.get(spec.name)
    if module is None:
        return None
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    try:
        found = subprocess.run(  # noqa: S603 - the interpreter is the user's own choice
            [str(interpreter), "-c", code],
            env=child_environment(interpreter),
            capture_output=True,
            timeout=LOOKUP_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{interpreter} cannot be started: {error}"
    return None if found.returncode == 0 else f"not installed; {spec.install}"
