"""Standard deviation of C3D's activations after each convolution, for four initialisations of the weights.

    python benchmarks/activation_scale.py [FIGURE.svg]

Prints a table, and draws it as docs/figures/activation_scale.svg unless another file is named.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from models.c3d import C3D, initialize_weights

SEED, CLIPS = 0, 2
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "activation_scale.svg"


def set_xavier(weight: Tensor) -> None:
    """Draw from a normal distribution with variance 2 / (fan_in + fan_out)."""
    nn.init.xavier_normal_(weight)


def set_fixed(weight: Tensor) -> None:
    """Draw from a normal distribution with standard deviation 0.01."""
    nn.init.normal_(weight, std=0.01)


def set_pytorch_default(weight: Tensor) -> None:
    """Draw as `nn.Conv3d` does: uniform, with variance 1 / (3 fan_in)."""
    nn.init.kaiming_uniform_(weight, a=5**0.5)


def apply_to_convolutions(network: nn.Module, fill: Callable[[Tensor], None]) -> None:
    """Initialise every convolution's weight anew."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            fill(module.weight)


INITIALISATIONS: dict[str, Callable[[nn.Module], None]] = {
    "Kaiming (used)": initialize_weights,
    "Xavier": lambda network: apply_to_convolutions(network, set_xavier),
    "PyTorch's default": lambda network: apply_to_convolutions(network, set_pytorch_default),
    "standard deviation 0.01": lambda network: apply_to_convolutions(network, set_fixed),
}


def measure_scales(initialize: Callable[[nn.Module], None]) -> dict[str, float]:
    """Return {convolution: standard deviation of its output}, for clips with standard deviation 1."""
    torch.manual_seed(SEED)
    network = C3D().eval()
    scales: dict[str, float] = {}
    with torch.inference_mode():
        initialize(network)
        for name, module in network.named_children():
            if isinstance(module, nn.Conv3d):

                def record(_module: nn.Module, _inputs: object, output: Tensor, name: str = name) -> None:
                    scales[name] = output.std().item()

                module.register_forward_hook(record)
        network(torch.randn(CLIPS, 3, 16, 112, 112))
    return scales


def draw(scales: dict[str, dict[str, float]], path: Path) -> None:
    """Draw a line for each initialisation; the same figures give the same file."""
    mpl.rcParams["svg.hashsalt"] = "c3d-export"
    mpl.rcParams["svg.fonttype"] = "none"
    figure, axes = plt.subplots(figsize=(7.2, 3.6))
    for (title, values), marker in zip(scales.items(), "osd^", strict=True):
        axes.semilogy(list(values), list(values.values()), marker=marker, label=title)
    axes.set_ylabel("standard deviation")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    """Print the table and draw the figure."""
    scales = {title: measure_scales(initialize) for title, initialize in INITIALISATIONS.items()}
    layers = list(next(iter(scales.values())))
    print(f"{'':<24} {' '.join(f'{layer:>8}' for layer in layers)}")
    for title, values in scales.items():
        print(f"{title:<24} {' '.join(f'{values[layer]:8.4f}' for layer in layers)}")
    draw(scales, Path(sys.argv[1]) if len(sys.argv) > 1 else FIGURE)


if __name__ == "__main__":
    main()
