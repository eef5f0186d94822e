"""What is served, and why the rest is not."""

from fastapi import APIRouter

from service.api.deps import API, ServicesDep
from service.api.errors import documented
from service.api.schemas import ModelDetailOut, ModelsOut

router = APIRouter(prefix=API, tags=["models"])


@router.get("/models", responses=documented(401, 429, 503))
async def list_models(services: ServicesDep) -> ModelsOut:
    """Every model of the repository, by name: what is served, and why the rest is not."""
    return ModelsOut.of(services.catalog)


@router.get("/models/{model}", responses=documented(401, 404, 422, 429, 503))
async def show_model(services: ServicesDep, model: str) -> ModelDetailOut:
    """One model that is served, with its labels; 503 says why one is not."""
    return ModelDetailOut.of(services.catalog.resolve(model), services.catalog)
