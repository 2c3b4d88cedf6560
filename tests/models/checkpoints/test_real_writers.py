"""The origins' own writers, where they are installed: `pip install tensorflow-cpu`, then `pytest -m heavy`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.loaded import load_tensors

from models.checkpoints.readers import read_file

generator = np.random.default_rng(3)
VARIABLES = {
    "var_name/wc1": generator.standard_normal((3, 3, 3, 3, 64)).astype(np.float32),
    "var_name/bc1": generator.standard_normal(64).astype(np.float32),
    "var_name/wd1": generator.standard_normal((512, 300)).astype(np.float32),
}


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", [1, 2])
def test_tensorflow_saver(version: int, tmp_path: Path) -> None:
    tf: Any = pytest.importorskip("tensorflow").compat.v1
    with tf.Graph().as_default(), tf.Session() as session:
        for name, value in VARIABLES.items():
            tf.get_variable(name, initializer=value)
        session.run(tf.global_variables_initializer())
        tf.train.Saver(write_version=version).save(session, str(tmp_path / "c3d.model"), write_meta_graph=False)
    raw = read_file(tmp_path / ("c3d.model" if version == 1 else "c3d.model.index"))
    assert raw.container == f"TensorFlow V{version}"
    assert load_tensors(raw).keys() == VARIABLES.keys()
    assert all(np.array_equal(load_tensors(raw)[name].numpy(), value) for name, value in VARIABLES.items())


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
def test_keras_save(tmp_path: Path) -> None:
    keras: Any = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((16, 16, 16, 3)), keras.layers.Conv3D(4, 3, name="conv1")], name="c3d")
    kernel, bias = model.layers[0].get_weights()
    model.save(tmp_path / "c3d.h5")
    model.save_weights(tmp_path / "c3d.weights.h5")
    for file, names in (
        ("c3d.h5", ("conv1/kernel", "conv1/bias")),
        ("c3d.weights.h5", ("layers/conv3d/vars/0", "layers/conv3d/vars/1")),
    ):
        raw = read_file(tmp_path / file)
        assert load_tensors(raw).keys() == set(names)
        assert np.array_equal(load_tensors(raw)[names[0]].numpy(), kernel)
        assert np.array_equal(load_tensors(raw)[names[1]].numpy(), bias)
