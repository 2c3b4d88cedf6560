"""Selected outputs come in the order asked for."""

import pytest
import torch
from helpers.built import c3d

from exporter.engines.pytorch import network_prefix
from exporter.errors import UsageError
from exporter.formats.export_module import find_layer, select_outputs
from models.built_model import BuiltModel


def test_outputs_come_in_the_order_asked_for(narrow: BuiltModel) -> None:
    clip = torch.rand(1, 3, 16, 48, 48)
    with torch.inference_mode():
        _, _, fc6, fc7, logits = c3d(narrow).forward_layers(clip)
        assert torch.equal(select_outputs(narrow, ("fc7",))(clip), fc7)
        several = select_outputs(narrow, ("probabilities", "fc6", "logits"))(clip)
        every = select_outputs(narrow, ("fc7", "logits", "probabilities", "fc6"))(clip)
    probabilities = torch.softmax(logits, 1)
    assert all(torch.equal(a, b) for a, b in zip(several, (probabilities, fc6, logits), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(every, (fc7, logits, probabilities, fc6), strict=True))


def test_all_outputs_in_their_own_order_need_no_wrapper(narrow: BuiltModel) -> None:
    assert select_outputs(narrow, tuple(output.name for output in narrow.outputs)) is narrow.forward_all


def test_an_unknown_output_is_refused(narrow: BuiltModel) -> None:
    with pytest.raises(UsageError, match="has no output fc9"):
        select_outputs(narrow, ("fc9",))


def test_layers_are_found_inside_the_exported_module(narrow: BuiltModel) -> None:
    module = select_outputs(narrow, ("fc7",))
    parent, name = find_layer(module, "conv3a")
    assert parent.get_submodule(name) is c3d(narrow).conv3a
    assert network_prefix(module, narrow) == "network.network."
    with pytest.raises(KeyError):
        find_layer(module, "conv9")
