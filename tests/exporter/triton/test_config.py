"""A configuration states what a signature and the options mean for the server."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.pbtxt import parse

from exporter.errors import UsageError
from exporter.triton.config import ModelConfig
from exporter.triton.types import TRITON_BACKENDS, TritonBackend, TritonRequest
from models.specs import Signature, TensorSpec

REQUEST = TritonRequest(Path("c3d.onnx"), Path("models"))
CLIP = TensorSpec("clip", "float32", ("batch", 3, 16, 112, 112))
FRAMES = TensorSpec("frames", "uint8", ("batch", 16, "height", "width", 3))
LOGITS, FC6 = (TensorSpec(name, "float32", ("batch", width)) for name, width in (("logits", 101), ("fc6", 4096)))
SIGNATURE = Signature((CLIP,), (LOGITS, FC6))
FILES: dict[TritonBackend, str] = {"onnxruntime": "model.onnx", "openvino": "model.xml", "pytorch": "model.pt"}


def config(backend: TritonBackend = "onnxruntime", signature: Signature = SIGNATURE, **options: Any) -> ModelConfig:
    return ModelConfig(
        "c3d", backend, FILES[backend], signature, replace(REQUEST, **options), label_outputs=("logits",)
    )


def parsed(backend: TritonBackend = "onnxruntime", signature: Signature = SIGNATURE, **options: Any) -> Any:
    return parse(config(backend, signature, **options).to_text())


def fixed(batch: int) -> Signature:
    def fix(spec: TensorSpec) -> TensorSpec:
        return replace(spec, shape=(batch, *spec.shape[1:]))

    return Signature(tuple(map(fix, SIGNATURE.inputs)), tuple(map(fix, SIGNATURE.outputs)))


def test_a_dynamic_batch_is_the_servers() -> None:
    found = parsed(max_batch=16, preferred_batches=(8, 4), queue_delay_us=250)
    assert (found["name"], found["backend"], found["max_batch_size"]) == (["c3d"], ["onnxruntime"], [16])
    assert found["default_model_filename"] == ["model.onnx"]
    (clip,) = found["input"]
    assert clip == {"name": ["clip"], "data_type": ["TYPE_FP32"], "dims": [[3, 16, 112, 112]]}
    assert [output["dims"] for output in found["output"]] == [[[101]], [[4096]]]
    assert found["dynamic_batching"] == [{"preferred_batch_size": [[4, 8]], "max_queue_delay_microseconds": [250]}]
    assert [(sample["batch_size"], sample["inputs"][0]["value"][0]["dims"]) for sample in found["model_warmup"]] == [
        ([size], [[3, 16, 112, 112]]) for size in (1, 4, 8)
    ]
    assert [output.get("label_filename") for output in found["output"]] == [["labels.txt"], None]


def test_a_fixed_batch_is_in_the_shapes() -> None:
    found = parsed(signature=fixed(4))
    assert found["max_batch_size"] == [0]
    assert "dynamic_batching" not in found
    assert found["input"][0]["dims"] == [[4, 3, 16, 112, 112]]
    assert found["output"][0]["dims"] == [[4, 101]]
    (sample,) = found["model_warmup"]
    assert (sample["batch_size"], sample["inputs"][0]["value"][0]["dims"]) == ([1], [[4, 3, 16, 112, 112]])


def test_a_batch_of_one_has_no_queue() -> None:
    found = parsed(max_batch=1)
    assert found["max_batch_size"] == [1]
    assert "dynamic_batching" not in found


@pytest.mark.parametrize("backend", TRITON_BACKENDS)
def test_frames_of_any_size(backend: TritonBackend) -> None:
    found = parsed(backend, Signature((FRAMES,), SIGNATURE.outputs), max_batch=2)
    (frames,) = found["input"]
    assert (frames["data_type"], frames["dims"]) == (["TYPE_UINT8"], [[16, -1, -1, 3]])
    (value,) = found["model_warmup"][0]["inputs"][0]["value"]
    assert (value["dims"], value["data_type"]) == ([[16, 240, 320, 3]], ["TYPE_UINT8"])


def test_openvino_makes_no_batches_unless_asked() -> None:
    found = parsed("openvino", threads=3)
    assert found["max_batch_size"] == [0]
    assert found["input"][0]["dims"] == [[-1, 3, 16, 112, 112]]
    assert found["instance_group"] == [{"count": [1], "kind": ["KIND_CPU"]}]
    assert found["model_warmup"][0]["inputs"][0]["value"][0]["dims"] == [[1, 3, 16, 112, 112]]
    assert {p["key"][0]: p["value"][0]["string_value"][0] for p in found["parameters"]} == {
        "INFERENCE_NUM_THREADS": "3"
    }
    lower = replace(config("openvino"), bfloat16=True).to_text()
    assert parse(lower)["parameters"] == [{"key": ["HINT_BF16"], "value": [{"string_value": ["YES"]}]}]
    padded = parsed("openvino", max_batch=4)
    assert padded["max_batch_size"] == [4]
    assert {"key": ["ENABLE_BATCH_PADDING"], "value": [{"string_value": ["YES"]}]} in padded["parameters"]


def test_torchscripts_tensors_are_named_by_their_position() -> None:
    found = parsed("pytorch", kind="gpu", instances=2)
    assert found["platform"] == ["pytorch_libtorch"]
    assert found["default_model_filename"] == ["model.pt"]
    assert [spec["name"] for spec in (*found["input"], *found["output"])] == [["clip__0"], ["logits__0"], ["fc6__1"]]
    assert found["model_warmup"][0]["inputs"][0]["key"] == ["clip__0"]
    assert found["instance_group"] == [{"count": [2], "kind": ["KIND_GPU"]}]


def test_one_number_for_each_row_is_reshaped() -> None:
    score = TensorSpec("score", "float64", ("batch",))
    found = parsed(signature=Signature((CLIP,), (score,)))
    assert found["output"] == [
        {"name": ["score"], "data_type": ["TYPE_FP64"], "dims": [[1]], "reshape": [{"shape": [[]]}]}
    ]


def test_sizes_that_nothing_states_are_not_warmed_up() -> None:
    image = TensorSpec("image", "float32", ("n", 3, "h", "w"))
    assert "model_warmup" not in parsed(signature=Signature((image,), (LOGITS,)))
    assert "model_warmup" not in parsed(warm_up=False)


def test_parameters_are_texts() -> None:
    text = replace(config(), parameters={"k": 'v "1"'}).to_text()
    assert parse(text)["parameters"] == [{"key": ["k"], "value": [{"string_value": ['v "1"']}]}]


@pytest.mark.parametrize(
    ("backend", "signature", "options", "message"),
    [
        ("onnxruntime", fixed(4), {"max_batch": 8}, "this model's is fixed at 4"),
        ("onnxruntime", SIGNATURE, {"max_batch": 0}, "--max-batch 0: must be at least 1"),
        ("onnxruntime", SIGNATURE, {"preferred_batches": (0, 4)}, "--preferred-batch 0"),
        ("onnxruntime", SIGNATURE, {"max_batch": 4, "preferred_batches": (8,)}, "at most --max-batch, which is 4"),
        ("onnxruntime", SIGNATURE, {"instances": 0}, "--instances 0"),
        ("onnxruntime", SIGNATURE, {"threads": 0}, "--threads 0"),
        ("onnxruntime", SIGNATURE, {"queue_delay_us": -1}, "--queue-delay -1"),
        ("onnxruntime", SIGNATURE, {"queue_delay_us": 1 << 64}, "--queue-delay .* at most"),
        ("onnxruntime", SIGNATURE, {"max_batch": 1 << 31}, "--max-batch 2147483648: must be at most 2147483647"),
        ("onnxruntime", SIGNATURE, {"instances": 1 << 31}, "--instances"),
        ("onnxruntime", SIGNATURE, {"threads": 1 << 31}, "--threads"),
        ("onnxruntime", SIGNATURE, {"version": 10**18}, "--version"),
        ("openvino", Signature((CLIP,), (replace(LOGITS, dtype="float64"),)), {}, "takes no tensors of float64"),
        ("openvino", SIGNATURE, {"kind": "gpu"}, "runs on the CPU"),
        ("openvino", SIGNATURE, {"preferred_batches": (4,)}, "needs --max-batch with OpenVINO"),
        ("onnxruntime", Signature((replace(CLIP, dtype="complex64"),), (LOGITS,)), {}, "Triton takes tensors of"),
        ("onnxruntime", Signature((replace(CLIP, shape=("?", "…")),), (LOGITS,)), {}, "a known rank"),
    ],
)
def test_what_does_not_go_together_is_refused(
    backend: TritonBackend, signature: Signature, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        config(backend, signature, **options).to_text()
