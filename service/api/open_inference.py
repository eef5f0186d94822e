"""The Open Inference Protocol v2 (REST), which Triton, KServe and MLServer speak; and how to be KServe's transformer.

Health, metadata and inference, with Triton's extensions for binary tensors, classes and a model's configuration. The
work is that of classify: the same admission, limits, deadlines and counting.
"""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from contract.config import INPUT, OUTPUT
from service.api.body import Arrival, read_whole
from service.api.deps import ServicesDep, context_of, is_draining, services_of
from service.api.direct import Direct
from service.api.errors import documented_open_inference
from service.api.incoming import OPEN_INFERENCE, TENSOR_HEAD_LENGTH
from service.api.receiving import bounded, deadline_of
from service.api.schemas import (
    InferResponseOut,
    LiveOut,
    ModelConfigOut,
    ModelMetadataOut,
    ModelReadyOut,
    ReadyOut,
    ServerMetadataOut,
    TensorMetadataOut,
)
from service.api.tensors import InferRequest, read_request, write_response
from service.errors import Draining, UnsupportedMedia

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration"]
router = APIRouter(prefix=OPEN_INFERENCE, tags=["open inference protocol"])
inference_router = APIRouter(prefix=OPEN_INFERENCE, tags=["open inference protocol"], route_class=Direct)
_MODEL = documented_open_inference(401, 404, 422, 429, 503)

_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["boolean", "integer", "string"]}}
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "datatype", "shape", "data"],
                "properties": {
                    "name": {"const": INPUT},
                    "datatype": {"enum": ["UINT8", "BYTES"]},
                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                    "data": {"type": "array", "description": "Numbers, flat or in nested lists; or base64."},
                    "parameters": _PARAMETERS,
                },
            },
        },
        "outputs": {
            "type": "array",
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"const": OUTPUT}, "parameters": _PARAMETERS},
            },
        },
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The protocol's request. The input is UINT8 pixels as the model takes them, or BYTES, each a "
        f"picture's file, in JSON as base64. With {TENSOR_HEAD_LENGTH} the tensor follows the JSON as bytes.",
        "content": {
            "application/json": {"schema": _REQUEST},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def _path(*names: str) -> dict[str, Any]:
    return {
        **_BODY,
        "parameters": [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names],
    }


@router.get("")
async def server_metadata(request: Request) -> ServerMetadataOut:
    """Who answers, and which extensions of the protocol it has."""
    return ServerMetadataOut(name="vitrine", version=request.app.version, extensions=EXTENSIONS)


@router.get("/health/live")
async def live() -> LiveOut:
    """As `/livez`: asks nobody."""
    return LiveOut(live=True)


@router.get("/health/ready", responses=documented_open_inference(503))
async def ready(request: Request, services: ServicesDep) -> ReadyOut:
    """As `/readyz`."""
    if is_draining(request):
        raise Draining("this process finishes what it has and ends")
    services.catalog.check_ready()
    return ReadyOut(ready=True)


@router.get("/models/{model}", responses=_MODEL)
@router.get("/models/{model}/versions/{version}", responses=_MODEL)
async def model_metadata(services: ServicesDep, model: str, version: str | None = None) -> ModelMetadataOut:
    """The tensors of a model that is served."""
    served = services.inference.find(model, version)
    preprocessing = served.entry.preprocessing
    pixels = [-1, preprocessing.height, preprocessing.width, 3]
    return ModelMetadataOut(
        name=served.name,
        versions=[served.version],
        platform="vitrine",
        inputs=[TensorMetadataOut(name=INPUT, datatype="UINT8", shape=pixels)],
        outputs=[TensorMetadataOut(name=OUTPUT, datatype="FP32", shape=[-1, served.entry.classes])],
    )


@router.get("/models/{model}/config", responses=_MODEL)
@router.get("/models/{model}/versions/{version}/config", responses=_MODEL)
async def model_config(services: ServicesDep, model: str, version: str | None = None) -> ModelConfigOut:
    """What of Triton's model configuration a client needs: sizes, types and layout."""
    return ModelConfigOut.of(services.inference.find(model, version).entry)


@router.get("/models/{model}/ready", responses=_MODEL)
@router.get("/models/{model}/versions/{version}/ready", responses=_MODEL)
async def model_ready(services: ServicesDep, model: str, version: str | None = None) -> ModelReadyOut:
    """Whether the model answers; an error says why it does not."""
    return ModelReadyOut(name=services.inference.find(model, version).name, ready=True)


@inference_router.post(
    "/models/{model}/infer",
    openapi_extra=_path("model"),
    responses=documented_open_inference(),
    response_model=InferResponseOut,
)
async def infer(request: Request) -> Response:
    """The probabilities of pictures, or of pixels that the caller prepared."""
    return await _inferred(request)


@inference_router.post(
    "/models/{model}/versions/{version}/infer",
    openapi_extra=_path("model", "version"),
    responses=documented_open_inference(),
    response_model=InferResponseOut,
)
async def infer_version(request: Request) -> Response:
    """The same of one version, where that is the one that answers."""
    return await _inferred(request)


async def _inferred(request: Request) -> Response:
    model, version = request.path_params["model"], request.path_params.get("version")
    services, deadline = services_of(request), deadline_of(request)
    stages = context_of(request.scope).stages
    services.inference.find(model, version)  # So that nobody sends in vain.
    services.admission.check()
    with stages.timed("receive"):
        asked = await _received(request, Arrival(services.read_seconds, deadline))
    if isinstance(asked.images, list):
        for picture in asked.images:
            services.metrics.upload_bytes.observe(len(picture))
    with services.admission.permit(len(asked.images)):
        work = services.inference.infer(model, version, asked.images, deadline, stages)
        body, headers = write_response(await bounded(request.receive, deadline, work), asked)
    return Response(body, headers=headers)


async def _received(request: Request, until: Arrival) -> InferRequest:
    services = services_of(request)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("the body must not be compressed: send it without Content-Encoding")
    body = await read_whole(request, until)
    most = min(services.max_batch_pictures, services.admission.capacity)
    # In a thread, which lets go of the interpreter between steps, though not inside Python's parser of JSON.
    return await asyncio.to_thread(read_request, body, request.headers.get(TENSOR_HEAD_LENGTH), most)
