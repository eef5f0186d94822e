"""What a file is that is no checkpoint, by its first bytes: half of what people give by mistake says so itself."""

import zipfile
from collections.abc import Callable
from pathlib import Path

_HEAD = 4096
_EXPORT = "export the state dict with torch.save(model.state_dict(), 'weights.pth') and give that file"
_DOWNLOAD = "download the file itself again"

_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, not the weights that it stands for",
        "run `git lfs pull` where it was cloned, or download the file itself",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes (.h5)",
        "train or convert it in PyTorch; there is no way here",
    ),
    (b"GGUF", "a GGUF file, which holds quantised language models", "give the PyTorch weights of the model"),
    (b"PK\x05\x06", "an empty zip", _DOWNLOAD),
    (b"\x1f\x8b", "a gzip file", "unpack it first: `tar -xzf` or `gunzip`"),
    (b"BZh", "a bzip2 file", "unpack it first: `tar -xjf` or `bunzip2`"),
    (b"\xfd7zXZ", "an xz file", "unpack it first: `tar -xJf` or `unxz`"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it first: `zstd -d`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x93NUMPY", "a NumPy array", _EXPORT),
    (b"\xff\xd8\xff", "a JPEG picture", "give the file of weights"),
    (b"\x89PNG", "a PNG picture", "give the file of weights"),
)
_MEMBERS: tuple[tuple[Callable[[str], bool], str, str], ...] = (
    (
        lambda name: name.endswith("/constants.pkl") or "/code/" in name,
        "a TorchScript archive (torch.jit.save), whose code is not run",
        "save the weights where it was made: torch.save(model.state_dict(), 'weights.pth')",
    ),
    (lambda name: name.endswith("model.weights.h5"), "a Keras archive", "train or convert it in PyTorch"),
    (lambda name: name.endswith(".npy"), "a NumPy archive (.npz), as JAX models are published", _EXPORT),
    (
        lambda name: "serialized_exported_program" in name or name.endswith("archive_format"),
        "a torch.export archive",
        _EXPORT,
    ),
    (
        lambda name: name.endswith((".pth", ".pt", ".safetensors", ".bin", ".ckpt")),
        "a zip around a checkpoint",
        "unpack it first",
    ),
)


def foreign_kind(path: Path) -> tuple[str, str] | None:
    """What the file is, in words, and what to do; None where it may be a checkpoint."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return "an empty file", f"the download or the disk failed; {_DOWNLOAD}"
    for start, words, fix in _STARTS:
        if head.startswith(start):
            return words, fix
    return _text(head) or _tensorflow(head) or _onnx(head) or _archive(path, head)


def _text(head: bytes) -> tuple[str, str] | None:
    """A page or a message that a server gave instead of the file, or a file of settings."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"<":
        return "a web page (HTML or XML)", f"the server sent a page, often a login or an error; {_DOWNLOAD}"
    if start[:1] in (b"{", b"["):
        return "a JSON file", "it is an error message or a configuration; give the file of weights"
    if head.startswith((b"Entry not found", b"Invalid username")):
        return "an error message of a model hub", f"sign in or correct the address; {_DOWNLOAD}"
    return None


def _tensorflow(head: bytes) -> tuple[str, str] | None:
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite file", "give the PyTorch weights of the model"
    return None


def _onnx(head: bytes) -> tuple[str, str] | None:
    # ModelProto opens with field 1 (ir_version, a varint), then producer_name (field 2) or the graph (field 7).
    if head[:1] == b"\x08" and 1 <= head[1] < 32 and head[2:3] in (b"\x12", b"\x1a", b"\x3a", b"\x22", b"\x28"):
        return "an ONNX graph", "it has no names of a PyTorch model; give the checkpoint that it was exported from"
    return None


def _archive(path: Path, head: bytes) -> tuple[str, str] | None:
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it first: `tar -xf`"
    if not head.startswith(b"PK\x03\x04"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "an archive that ends early", f"the download or the disk failed half-way; {_DOWNLOAD}"
    for has, words, fix in _MEMBERS:
        if any(map(has, names)):
            return words, fix
    if not any(name.endswith("data.pkl") for name in names):
        return "a zip of something else", "give the file of weights"
    return None
