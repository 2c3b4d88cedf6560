"""The table of profiles. A wrong one gives wrong outputs without an error: no shape shows which an origin used."""

from __future__ import annotations

from dataclasses import replace

from models.preprocessing.recipe import Preprocessing

UNKNOWN = Preprocessing(
    name="unknown",
    channels="RGB",
    scale=1.0,
    mean=(0.0, 0.0, 0.0),
    resize=(171, 128),
    crop=(8, 30),
    source="not recorded: these weights come with no profile; the values are RGB 0-255 without a mean",
)

NOT_KNOWN = (
    "not known: give --preprocess NAME|FILE, at the export or to predict and features (c3d-export layouts --profiles "
    "lists the names)"
)
"""What is said of the preprocessing of a file that has the profile UNKNOWN."""

CAFFE = Preprocessing(
    name="caffe-sports1m",
    channels="BGR",
    scale=1.0,
    mean=(90.25, 97.66, 101.41),
    resize=(171, 128),
    crop=(8, 29),
    source="facebookarchive/C3D, feature extraction: frames minus the Sports-1M mean cube (3, 16, 128, 171)",
    mean_file="sport1m_train16_128_mean.binaryproto",
    clip_step=16,
    average="features",
)

C3D_KERAS = replace(
    CAFFE,
    name="c3d-keras",
    crop=(8, 30),
    source="axon-research/c3d-keras, test_model.py: Caffe's, one column further right",
    mean_file="train01_16_128_171_mean.npy",
    average="probabilities",
)

JFZHANG95 = Preprocessing(
    name="jfzhang95",
    channels="BGR",
    scale=1.0,
    mean=(90.0, 98.0, 102.0),
    resize=(171, 128),
    crop=(8, 30),
    source="jfzhang95/pytorch-video-recognition, inference.py: OpenCV frames minus [90, 98, 102]",
    clip_step=1,
)

DAVIDEA = Preprocessing(
    name="davidea",
    channels="RGB",
    scale=1.0,
    mean=(0.0, 0.0, 0.0),
    resize=(200, 112),
    crop=(0, 44),
    source="DavideA/c3d-pytorch, predict.py: one folder of 16 frames, resized by the scikit-image of 2017 (0.13)",
    interpolation="skimage",
)

MMACTION2 = Preprocessing(
    name="mmaction2",
    channels="RGB",
    scale=1.0,
    mean=(104.0, 117.0, 128.0),
    resize=128,
    crop=None,
    source="open-mmlab/mmaction2 1.x, configs/recognition/c3d: mean [104, 117, 128], std 1; 10 clips of a video",
    clips=10,
)

EKOSMAN = Preprocessing(
    name="ekosman",
    channels="RGB",
    scale=1 / 255,
    mean=(124 / 255, 117 / 255, 104 / 255),
    std=(1 / (0.0167 * 255), 1 / (0.0167 * 255), 1 / (0.0167 * 255)),
    resize=(171, 128),
    crop=(8, 30),
    source="ekosman/AnomalyDetectionCVPR2018-Pytorch, utils/utils.py, build_transforms: features of 16 frames each",
    clip_step=16,
    interpolation="torch",
    average="features",
)

HX173149 = Preprocessing(
    name="hx173149",
    channels="RGB",
    scale=1.0,
    mean=(95.14, 102.86, 107.76),
    resize=112,
    crop=None,
    source="hx173149/C3D-tensorflow, input_data.py: RGB frames, 5 a second, minus a mean that was made of BGR ones",
    mean_file="crop_mean.npy",
    rounding="plus-one",
)

GLUONCV = Preprocessing(
    name="gluoncv",
    channels="RGB",
    scale=1 / 255,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    resize=(171, 128),
    crop=(8, 30),
    source="dmlc/gluon-cv, c3d_kinetics400.log and data/video_custom/classification.py: ImageNet's mean and std",
    frame_step=2,
    clips=1,
)

PROFILES: tuple[Preprocessing, ...] = (
    UNKNOWN,
    CAFFE,
    C3D_KERAS,
    JFZHANG95,
    DAVIDEA,
    MMACTION2,
    EKOSMAN,
    HX173149,
    GLUONCV,
)
"""Every profile; the table of layouts refers to them by name."""


def describe_profiles() -> str:
    """Return what `--preprocess` takes, for messages: the names of the profiles, or a file."""
    names = ", ".join(profile.name for profile in PROFILES if profile is not UNKNOWN)
    return f"{names}, or a .json or .toml file"
