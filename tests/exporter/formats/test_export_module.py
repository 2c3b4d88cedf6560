"""BatchNorm folds away, and outputs come in the order asked for."""

import numpy as np
import torch
from helpers import reference

from exporter.formats.export_module import fold_batch_norm, select_outputs
from models import build
from models.options import BuildOptions


def test_batch_norm_folds_without_changing_the_function() -> None:
    network = build(BuildOptions(5, batch_norm=True, seed=1)).network
    generator = torch.Generator().manual_seed(0)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(generator=generator)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2, generator=generator)
    for name, parameter in network.named_parameters():
        if name.startswith("bn"):
            parameter.data.uniform_(-1.5, 1.5, generator=generator)
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in folded.modules())
    for name in reference.CONVOLUTIONS:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        x = np.random.default_rng(0).standard_normal((weight.shape[1], 3, 4, 5))
        norm = {
            key: state[f"{name.replace('conv', 'bn')}.{key}"][:, None, None, None]
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        plain = reference.convolve(x, weight, bias) - norm["running_mean"]
        expected = plain / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
        with torch.inference_mode():
            answer = folded.get_submodule(name).double()(torch.from_numpy(x[None]))[0].numpy()
        # one float32 rounding of each weight, nothing more
        assert np.abs(answer - expected).max() <= 1e-6 * np.abs(expected).max(), name
    for name in ("fc6", "fc7", "fc8"):
        assert torch.equal(folded.get_submodule(name).weight, network.get_submodule(name).weight)  # pyright: ignore


def test_outputs_come_in_the_order_asked_for() -> None:
    network = build(BuildOptions(5)).network
    clip = torch.rand(1, 3, 16, 112, 112)
    with torch.inference_mode():
        fc6, fc7, logits = network.forward_features(clip)
        assert torch.equal(select_outputs(network, ("fc7",))(clip), fc7)
        several = select_outputs(network, ("probabilities", "fc6", "logits"))(clip)
        every = select_outputs(network, ("fc7", "logits", "probabilities", "fc6"))(clip)
    probabilities = torch.softmax(logits, 1)
    assert all(torch.equal(a, b) for a, b in zip(several, (probabilities, fc6, logits), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(every, (fc7, logits, probabilities, fc6), strict=True))
