"""Generates the Python package and the gateway's descriptor set from the .proto files.

Used by the build of the wheel (`hatch_build.py`) and by the checks of the contract (`check.py`). The .proto files of
google.api and buf.validate are read from the wheels that contain them.
"""

import os
import sys
from importlib.resources import files
from pathlib import Path

import protovalidate._gen.buf.validate.validate_pb as validate_pb
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

_GOOGLE_APIS = ("google/api/annotations.proto", "google/api/http.proto", "google/api/httpbody.proto")
# The other files of protobuf that the contract imports come with buf.validate.
_STRUCT = "google/protobuf/struct.proto"
_ERROR_DETAILS = "google/rpc/error_details.proto"
_VALIDATE = "buf/validate/validate.proto"


def _protoc(*arguments: str) -> None:
    plugins = str(Path(sys.executable).parent)
    if plugins not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = plugins + os.pathsep + os.environ["PATH"]
    if protoc.main(["protoc", *arguments]) != 0:
        raise SystemExit("protoc failed: its message above names the file and line")


def _dependencies(work: Path) -> Path:
    """Writes the descriptors of all files that the contract imports, and returns the path."""
    google = work / "google.pb"
    _protoc(
        f"-I{files('google') / '..'}",
        f"-I{files('grpc_tools') / '_proto'}",
        "--include_imports",
        f"--descriptor_set_out={google}",
        *_GOOGLE_APIS,
        _STRUCT,
        _ERROR_DETAILS,
    )
    descriptors = FileDescriptorSet.FromString(google.read_bytes())
    validate = FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    known = {file.name for file in descriptors.file}
    wanted = [name for name in validate.dependency if name not in known]
    extra = work / "extra.pb"
    if wanted:
        _protoc(f"-I{files('grpc_tools') / '_proto'}", "--include_imports", f"--descriptor_set_out={extra}", *wanted)
        descriptors.file.extend(
            file for file in FileDescriptorSet.FromString(extra.read_bytes()).file if file.name not in known
        )
    descriptors.file.append(validate)
    target = work / "dependencies.pb"
    target.write_bytes(descriptors.SerializeToString())
    return target


def sources(root: Path) -> list[str]:
    """The .proto files below `root`, by the paths that protoc and imports use."""
    return sorted(str(path.relative_to(root)) for path in (root / "adplatform").rglob("*.proto"))


def descriptor_set(root: Path, work: Path, target: Path, *, source_info: bool = False) -> None:
    """Writes the descriptor set of the files below `root`, of their imports and of google.rpc's error details."""
    work.mkdir(parents=True, exist_ok=True)
    _protoc(
        f"-I{root}",
        f"--descriptor_set_in={_dependencies(work)}",
        "--include_imports",
        *(["--include_source_info"] if source_info else []),
        f"--descriptor_set_out={target}",
        *sources(root),
        _ERROR_DETAILS,
    )


def package(root: Path, work: Path, target: Path) -> None:
    """Writes the importable packages `adplatform` and `buf.validate` into `target`, with type stubs."""
    work.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    shared = [f"-I{root}", f"--descriptor_set_in={_dependencies(work)}"]
    names = sources(root)
    _protoc(
        *shared, f"--python_out={target}", f"--mypy_out={target}", f"--grpc_python_out={target}",
        f"--mypy_grpc_out={target}", *names,
    )  # fmt: skip
    _protoc(*shared, f"--python_out={target}", f"--mypy_out={target}", _VALIDATE)
    # protoc writes a stub module also for files without services.
    for stub in target.rglob("*_pb2_grpc.py"):
        if "Servicer" not in stub.read_text():
            stub.unlink()
            stub.with_suffix(".pyi").unlink(missing_ok=True)
    for folder in {path.parent for path in target.rglob("*_pb2.py")}:
        while folder != target:
            (folder / "__init__.py").touch()
            folder = folder.parent
    (target / "adplatform" / "py.typed").touch()
    (target / "buf" / "py.typed").touch()
    descriptor_set(root, work, target / "adplatform" / "gateway.pb")
