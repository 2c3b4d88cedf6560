from .accuracy_results import HeldOutAccuracy, StructureCheck
from .artifacts.files import (
    Artifact,
)
from .artifacts.manifest import (
    Manifest,
)
from .artifacts.manifest_fields import (
    FileEntry,
    NetworkRecord,
    ParityRecord,
    StructureRecord,
)
from .bench.deployment.types import (
    BatchSpeed,
    DeploymentRequest,
    DeploymentRow,
    DeploymentTable,
    MissingRow,
    Variant,
)
from .bench.types import (
    BenchReport,
    BenchRequest,
    Loading,
    LowerBound,
    Measurement,
    Ratio,
    Roofline,
    Skipped,
    TargetInfo,
)
from .errors import (
    ArtifactError,
    BadInputError,
    C3DExportError,
    CheckFailedError,
    CheckpointError,
    IntegrityError,
    LimitError,
    OutOfMemoryError,
    OutputError,
    UnavailableError,
    UsageError,
    VideoError,
)
from .fault_injection.results import (
    CleanRuns,
    FaultResult,
    SampleResult,
    SelfTestOptions,
    SelfTestReport,
)
from .inference.features.types import (
    FeatureFiles,
    FeatureRequest,
    FeatureRow,
    FeaturesResult,
    VideoFeatureFiles,
    VideoFeatures,
)
from .inference.predictions import (
    ClassScore,
    ClipPrediction,
    ModelRecord,
    PredictRequest,
    PredictResult,
    PreviewFrame,
    SamplingRecord,
    TimelinePoint,
    VideoFailure,
    VideoPrediction,
)
from .inference.types import (
    ClipOptions,
    InferenceOptions,
    RayOptions,
)
from .load_checks import (
    LoadChecks,
)
from .network import (
    BuildOptions,
    BuiltModel,
    CheckpointInfo,
    ConvHint,
    MeanFile,
    OutputSpec,
    Preprocessing,
    Signature,
    TensorSpec,
    WeightSelection,
)
from .passes.decisions import (
    Decision,
    UnchangedReason,
)
from .requests import (
    ConvertRequest,
    ExportRequest,
    OptimizeRequest,
)
from .results import (
    Comparison,
    Determinism,
    ErrorHistogram,
    LayerError,
    Localization,
    ParityReport,
    Placement,
    PreviewFrames,
    Ranking,
)
from .signing import (
    ManifestSignature,
    SigningKey,
)
from .triton.types import (
    TritonRequest,
    TritonResult,
)
from .types import (
    BatchProfile,
    CalibrationOptions,
    EngineReference,
    InputOptions,
    OptimizeOptions,
    ParityOptions,
    PrecisionOptions,
    ValueRange,
)
from .video.sampling import (
    Seconds,
)
from .video.types import (
    ClipSpan,
)
from .workflows.bench import (
    benchmark,
)
from .workflows.candidates import (
    ParityFailedError,
)
from .workflows.convert import (
    ConvertResult,
    convert,
)
from .workflows.deployment_table import (
    benchmark_all,
)
from .workflows.export import (
    ExportResult,
    export,
)
from .workflows.features import (
    FeatureRun,
    features,
    open_features,
    write_features,
)
from .workflows.inspect import (
    Inspection,
    inspect,
)
from .workflows.integrity import (
    CheckedFile,
    IntegrityReport,
    verify_integrity,
)
from .workflows.isolated import (
    run_isolated,
)
from .workflows.optimization.speed import (
    Speed,
)
from .workflows.optimize import (
    OptimizationMismatchError,
    OptimizeResult,
    optimize,
)
from .workflows.predict import (
    PredictRun,
    iter_predictions,
    open_predict,
    predict,
)
from .workflows.self_test import (
    self_test,
)
from .workflows.sign import (
    SignedArtifact,
    SignResult,
    sign_artifacts,
)
from .workflows.triton import (
    triton_repository,
)
from .workflows.verify import (
    verify_parity,
)
from .workflows.weight_readers import (
    ReadWeights,
)

__all__ = [
    "Artifact",
    "ArtifactError",
    "BadInputError",
    "BatchProfile",
    "BatchSpeed",
    "BenchReport",
    "BenchRequest",
    "BuildOptions",
    "BuiltModel",
    "C3DExportError",
    "CalibrationOptions",
    "CheckFailedError",
    "CheckedFile",
    "CheckpointError",
    "CheckpointInfo",
    "ClassScore",
    "CleanRuns",
    "ClipOptions",
    "ClipPrediction",
    "ClipSpan",
    "Comparison",
    "ConvHint",
    "ConvertRequest",
    "ConvertResult",
    "Decision",
    "DeploymentRequest",
    "DeploymentRow",
    "DeploymentTable",
    "Determinism",
    "EngineReference",
    "ErrorHistogram",
    "ExportRequest",
    "ExportResult",
    "FaultResult",
    "FeatureFiles",
    "FeatureRequest",
    "FeatureRow",
    "FeatureRun",
    "FeaturesResult",
    "FileEntry",
    "HeldOutAccuracy",
    "InferenceOptions",
    "InputOptions",
    "Inspection",
    "IntegrityError",
    "IntegrityReport",
    "LayerError",
    "LimitError",
    "LoadChecks",
    "Loading",
    "Localization",
    "LowerBound",
    "Manifest",
    "ManifestSignature",
    "MeanFile",
    "Measurement",
    "MissingRow",
    "ModelRecord",
    "NetworkRecord",
    "OptimizationMismatchError",
    "OptimizeOptions",
    "OptimizeRequest",
    "OptimizeResult",
    "OutOfMemoryError",
    "OutputError",
    "OutputSpec",
    "ParityFailedError",
    "ParityOptions",
    "ParityRecord",
    "ParityReport",
    "Placement",
    "PrecisionOptions",
    "PredictRequest",
    "PredictResult",
    "PredictRun",
    "Preprocessing",
    "PreviewFrame",
    "PreviewFrames",
    "Ranking",
    "Ratio",
    "RayOptions",
    "ReadWeights",
    "Roofline",
    "SampleResult",
    "SamplingRecord",
    "Seconds",
    "SelfTestOptions",
    "SelfTestReport",
    "SignResult",
    "Signature",
    "SignedArtifact",
    "SigningKey",
    "Skipped",
    "Speed",
    "StructureCheck",
    "StructureRecord",
    "TargetInfo",
    "TensorSpec",
    "TimelinePoint",
    "TritonRequest",
    "TritonResult",
    "UnavailableError",
    "UnchangedReason",
    "UsageError",
    "ValueRange",
    "Variant",
    "VideoError",
    "VideoFailure",
    "VideoFeatureFiles",
    "VideoFeatures",
    "VideoPrediction",
    "WeightSelection",
    "benchmark",
    "benchmark_all",
    "convert",
    "export",
    "features",
    "inspect",
    "iter_predictions",
    "open_features",
    "open_predict",
    "optimize",
    "predict",
    "run_isolated",
    "self_test",
    "sign_artifacts",
    "triton_repository",
    "verify_integrity",
    "verify_parity",
    "write_features",
]

__version__: str
