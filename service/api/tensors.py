"""The bodies of the Open Inference Protocol v2 (REST) and of Triton's extensions to it, read and written.

The protocol: https://github.com/kserve/open-inference-protocol; the extensions `binary_tensor_data` and
`classification`: docs/protocol of Triton's server. A binary body is JSON, as long as a header says, and then tensors;
text in it is four bytes of length, least first, and the bytes.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.config import INPUT, OUTPUT
from service.api.incoming import MAX_TENSOR_HEAD_BYTES, TENSOR_HEAD_LENGTH
from service.errors import EmptyBody, InvalidBody, MalformedRequest, TooManyPictures
from service.inference import Images, Inferred

_LARGEST = 65_535
"""In a shape: the largest side of a JPEG. Python counts with numbers of any length, and then fails to write them."""


@dataclass(frozen=True)
class Wanted:
    """How the caller wants the output."""

    binary: bool = False
    classes: int = 0
    """How many of the best, as text `score:index:label`; 0 for the probabilities themselves."""


@dataclass(frozen=True)
class InferRequest:
    """One request."""

    id: str
    images: Images
    wanted: Wanted


def read_request(body: bytes, head_length: str | None, most: int) -> InferRequest:
    """The request in a body; `head_length` is what the header says of its JSON, `most` how many pictures it may have.

    Raises:
        EmptyBody: there is no picture.
        MalformedRequest: it is not JSON, or not as long as it says.
        InvalidBody: it is JSON, but holds another tensor than a picture model takes.
        TooManyPictures: there are more than may be.
    """
    size = len(body) if head_length is None else _head_length(head_length, body)
    try:
        found = json.loads(body[:size])
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(
            f"the body is not JSON; is {TENSOR_HEAD_LENGTH} the length of its JSON, where tensors follow?"
        ) from error
    request = _demand(found, dict, "the body", "an object")
    request_id = _demand(request.get("id", ""), str, "id", "a string")
    wanted = _wanted(request)
    images = _images(_only(request.get("inputs"), "inputs", INPUT), memoryview(body)[size:], most)
    return InferRequest(request_id, images, wanted)


def write_response(inferred: Inferred, request: InferRequest) -> tuple[bytes, dict[str, str]]:
    """The body of an answer, and its headers."""
    output, content = _output(inferred, request.wanted)
    answer: dict[str, Any] = {
        "model_name": inferred.served.name,
        "model_version": inferred.served.version,
        **({"id": request.id} if request.id else {}),
        "outputs": [output],
    }
    told = "; ".join(f"{INPUT} {n}: {', '.join(each)}" for n, each in enumerate(inferred.warnings) if each)
    if told:
        answer["parameters"] = {"warnings": told}
    head = json.dumps(answer, separators=(",", ":")).encode()
    if not request.wanted.binary:
        return head, {"Content-Type": "application/json"}
    return head + content, {"Content-Type": "application/octet-stream", TENSOR_HEAD_LENGTH: str(len(head))}


def _output(inferred: Inferred, wanted: Wanted) -> tuple[dict[str, Any], bytes]:
    """The output tensor, and its bytes where they are not in it."""
    rows = inferred.probabilities
    if wanted.classes:
        data: list[Any] = [text for row in rows for text in _best(row, inferred.served.entry.labels, wanted.classes)]
        output = {"name": OUTPUT, "datatype": "BYTES", "shape": [len(rows), len(data) // len(rows)]}
        content = b"".join(struct.pack("<I", len(text)) + text for text in (each.encode() for each in data))
    else:
        output = {"name": OUTPUT, "datatype": "FP32", "shape": list(rows.shape)}
        content = rows.astype("<f4").tobytes() if wanted.binary else b""
        data = [] if wanted.binary else rows.ravel().tolist()
    if wanted.binary:
        return {**output, "parameters": {"binary_data_size": len(content)}}, content
    return {**output, "data": data}, b""


def _best(row: npt.NDArray[np.float32], labels: tuple[str, ...], count: int) -> Iterator[str]:
    """As Triton writes them: the value with six digits, its index, its label."""
    for index in np.argsort(-row, kind="stable")[:count].tolist():
        yield f"{float(row[index]):f}:{index}:{labels[index]}"


def _head_length(given: str, body: bytes) -> int:
    size = int(given) if given.isascii() and given.isdecimal() and len(given) < 20 else -1
    if not 0 <= size <= len(body):
        raise MalformedRequest(f"{TENSOR_HEAD_LENGTH} must be the length of the body's JSON")
    if size > MAX_TENSOR_HEAD_BYTES:
        raise MalformedRequest(f"the JSON before tensors may have {MAX_TENSOR_HEAD_BYTES} bytes; it has {size}")
    return size


def _demand(found: Any, kind: type, where: str, what: str) -> Any:
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise InvalidBody(f"{where} must be {what}")
    return found


def _only(tensors: Any, where: str, name: str) -> dict[str, Any]:
    found: list[Any] = _demand(tensors, list, where, "a list of tensors")
    names = [_demand(each, dict, f"each of {where}", "an object").get("name") for each in found]
    if names != [name]:
        raise InvalidBody(f"{where} must hold one tensor, {name!r}")
    tensor: dict[str, Any] = found[0]
    return tensor


def _parameters(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = _demand(holder.get("parameters", {}), dict, f"parameters of {where}", "an object")
    if any(key.startswith("shared_memory") for key in found):
        raise InvalidBody("shared memory is not offered; send the tensor in the body")
    return found


def _wanted(request: Mapping[str, Any]) -> Wanted:
    binary: bool = _demand(
        _parameters(request, "the request").get("binary_data_output", False),
        bool,
        "binary_data_output",
        "true or false",
    )
    if not request.get("outputs"):
        return Wanted(binary)
    parameters = _parameters(_only(request["outputs"], "outputs", OUTPUT), "the output")
    binary = _demand(parameters.get("binary_data", binary), bool, "binary_data", "true or false")
    classes: int = _demand(parameters.get("classification", 0), int, "classification", "a number of classes")
    if classes < 0:
        raise InvalidBody("classification must be a number of classes")
    return Wanted(binary, classes)


def _images(tensor: Mapping[str, Any], after: memoryview, most: int) -> Images:
    shape = _demand(tensor.get("shape"), list, "shape", "a list of numbers")
    if any(not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST for size in shape):
        raise InvalidBody(f"shape must be a list of numbers from 0 to {_LARGEST}")
    if not shape or shape[0] == 0:
        raise EmptyBody(f"the input {INPUT!r} has no picture")
    if shape[0] > most:
        raise TooManyPictures(f"at most {most} pictures are accepted in one request")
    parameters = _parameters(tensor, "the input")
    binary = "binary_data_size" in parameters
    if binary and parameters["binary_data_size"] != len(after):
        raise MalformedRequest(f"binary_data_size is not what follows the JSON, which has {len(after)} bytes")
    if not binary and (after or "data" not in tensor):
        raise InvalidBody(f"the input {INPUT!r} has neither data nor a binary_data_size that tells of some")
    datatype = tensor.get("datatype")
    if datatype == "UINT8" and len(shape) == 4:
        return _pixels(shape, np.frombuffer(after, np.uint8) if binary else _numbers(tensor["data"]))
    if datatype == "BYTES" and shape in ([shape[0]], [shape[0], 1]):
        return _split(after, shape[0]) if binary else _decoded(tensor["data"], shape[0])
    raise InvalidBody(
        f"the input {INPUT!r} must be UINT8 of shape [N, height, width, 3] or BYTES of shape [N], a picture's file each"
    )


def _numbers(data: Any) -> npt.NDArray[np.uint8]:
    """Numbers as a list, or as lists of lists (the protocol allows both), which must be even.

    Not by numpy: it gives each string the room of the longest before anybody sees that they are strings.
    """
    found: list[Any] = _demand(data, list, "data", "a list")
    while (kinds := set(map(type, found))) == {list}:
        if len(set(map(len, found))) > 1:
            raise InvalidBody("data must be a list of numbers, or even lists of lists")
        found = list(chain.from_iterable(found))
    try:
        content = bytes(found) if kinds <= {int} else None
    except ValueError:  # One is not from 0 to 255.
        content = None
    if content is None:
        raise InvalidBody("data of UINT8 must be whole numbers from 0 to 255, flat or in even lists")
    return np.frombuffer(content, np.uint8)


def _pixels(shape: list[int], values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    count = 1
    for size in shape:
        count *= size
    if values.size != count:
        raise InvalidBody(f"shape {shape} takes {count} numbers, there are {values.size}")
    return values.reshape(shape)


def _split(content: memoryview, count: int) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(content):
        if len(found) == count:
            raise InvalidBody(f"shape says {count} pictures, there are more")
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        if end > len(content) or at + 4 > len(content):
            raise MalformedRequest("the lengths before the BYTES do not add up")
        found.append(bytes(content[at + 4 : end]))
        at = end
    if len(found) != count:
        raise InvalidBody(f"shape says {count} pictures, there are {len(found)}")
    return found


def _decoded(data: Any, count: int) -> list[bytes]:
    given: list[Any] = _demand(data, list, "data", "a list")
    if len(given) != count:
        raise InvalidBody(f"shape says {count} pictures, there are {len(given)}")
    try:
        texts = [
            _demand(each[0] if isinstance(each, list) and len(each) == 1 else each, str, "each picture", "base64")
            for each in given
        ]
        return [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError) as error:
        raise InvalidBody("a picture in JSON must be base64") from error
