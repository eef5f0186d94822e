"""A small typed client of the gateway.

    from vitrine import Client

    with Client("http://127.0.0.1:8080") as client:
        print(client.classify("photo.jpg").predictions[0])

`AsyncClient` is the same for asyncio. The command `vitrine` is built on it (docs/client.md).
"""

from vitrine.answers import Classification, Explanation, Model, Prediction
from vitrine.client import AsyncClient, Client
from vitrine.errors import InvalidAnswer, Problem, Unreachable, VitrineError

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "Explanation",
    "InvalidAnswer",
    "Model",
    "Prediction",
    "Problem",
    "Unreachable",
    "VitrineError",
]
