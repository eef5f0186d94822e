"""What is served."""

from fastapi import APIRouter

from service.api.deps import API, ServicesDep
from service.api.schemas import ModelDetailOut, ModelOut, ModelsOut, Problem

router = APIRouter(prefix=API, tags=["models"])


@router.get("/models", responses={503: {"model": Problem}})
async def list_models(services: ServicesDep) -> ModelsOut:
    """Every model that is served, by name."""
    return ModelsOut(models=[ModelOut.of(served) for served in services.catalog.models()])


@router.get("/models/{model}", responses={status: {"model": Problem} for status in (404, 422, 503)})
async def show_model(services: ServicesDep, model: str) -> ModelDetailOut:
    """One model, with its labels."""
    return ModelDetailOut.of(services.catalog.resolve(model))
