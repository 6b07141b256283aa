"""How folders of data are laid out that probes read; apart from what reads them, so that a command's help is quick."""

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "rooms",
    "camvid",
    "kitti",
    "scannet",
    "scannetpp",
    "nyu",
    "ade20k",
    "voc",
    "folder",
    "rgbd",
    "arrays",
    "image-folders",
]
Layout: TypeAlias = Literal["auto", Kind]
"""Auto = found out from the files that are there."""
