"""What is served."""

from fastapi import APIRouter

from service.api.deps import API, ServicesDep
from service.api.errors import documented
from service.api.schemas import ModelDetailOut, ModelOut, ModelsOut

router = APIRouter(prefix=API, tags=["models"])


@router.get("/models", responses=documented(401, 429, 503))
async def list_models(services: ServicesDep) -> ModelsOut:
    """Every model that is served, by name."""
    return ModelsOut(models=[ModelOut.of(served) for served in services.catalog.models()])


@router.get("/models/{model}", responses=documented(401, 404, 422, 429, 503))
async def show_model(services: ServicesDep, model: str) -> ModelDetailOut:
    """One model, with its labels."""
    return ModelDetailOut.of(services.catalog.resolve(model))
