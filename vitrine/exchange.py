"""One question to the gateway and what its answer means, without sending anything."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

from vitrine.errors import InvalidAnswer, Problem

ASK_AGAIN = frozenset({429, 503})
"""Statuses of which the gateway says when to come back."""
_JSON = "application/json"


@dataclass(frozen=True)
class Question:
    """One request."""

    path: str
    """Below the gateway's address, with the query."""
    content: bytes | None = None
    """A picture; it is posted."""
    accept: str = _JSON


@dataclass(frozen=True)
class Said:
    """One response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""

    def json(self) -> Any:
        """The body.

        Raises:
            InvalidAnswer: it is no JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise InvalidAnswer(f"the answer {self.status} is no JSON; is this the address of a gateway?") from None

    def retry_after(self, now: datetime | None = None) -> float | None:
        """Seconds after which to ask again, where the gateway says so (RFC 9110, 10.2.3)."""
        value = self.headers.get("retry-after", "")
        if self.status not in ASK_AGAIN or not value:
            return None
        if value.isdecimal():
            return float(value)
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return None
        return max(0.0, (then - (now or datetime.now(timezone.utc))).total_seconds())

    def timing(self) -> dict[str, float]:
        """The stages of the `Server-Timing` header, in milliseconds."""
        stages: dict[str, float] = {}
        for metric in self.headers.get("server-timing", "").split(","):
            name, *parameters = (part.strip() for part in metric.split(";"))
            for parameter in parameters:
                key, _, value = parameter.partition("=")
                if key == "dur" and value.replace(".", "", 1).isdecimal():
                    stages[name] = float(value)
        return stages

    def raise_for_problem(self) -> None:
        """Raise what went wrong, if anything.

        Raises:
            Problem: the gateway said no.
            InvalidAnswer: something else did.
        """
        if self.status == 200:
            return
        body = self.json()
        try:
            problem = Problem(self.status, body["code"], body["title"], body["detail"], body.get("request_id"))
        except (KeyError, TypeError):
            raise InvalidAnswer(
                f"the answer {self.status} is no problem document; is this the address of a gateway?"
            ) from None
        raise problem


def to_classify(content: bytes, model: str | None, top_k: int, min_score: float) -> Question:
    """For the classes of a picture; without a model the gateway's default answers."""
    of = f"/models/{quote(model, safe='')}" if model is not None else ""
    return Question(f"/v1{of}/classify?{urlencode({'top_k': top_k, 'min_score': min_score})}", content)


def to_list_models() -> Question:
    """For every model."""
    return Question("/v1/models")


def to_show_model(name: str) -> Question:
    """For one model, with its labels."""
    return Question(f"/v1/models/{quote(name, safe='')}")


@dataclass(frozen=True)
class Explaining:
    """What a heat map shows; what is None is left to the gateway."""

    method: str | None = None
    layer: int | None = None
    head: int | None = None
    fusion: str | None = None
    opacity: float | None = None
    """0 to 1; of the picture only."""


def to_explain(content: bytes, model: str, how: Explaining, accept: str = _JSON) -> Question:
    """For the heat map of a picture."""
    query = {name: value for name, value in vars(how).items() if value is not None}
    return Question(f"/v1/models/{quote(model, safe='')}/explain?{urlencode(query)}", content, accept)


def bearer(key: str | None) -> dict[str, str]:
    """The header of an API key.

    Raises:
        ValueError: no header can hold it. The message does not show it.
    """
    if key is None:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key or not key:
        raise ValueError("an API key has printable ASCII characters only, and no spaces")
    return {"Authorization": f"Bearer {key}"}


def checked_seconds(name: str, seconds: float, least: float) -> float:
    """`seconds`, if it is a number of them.

    Raises:
        ValueError: it is not.
    """
    if not math.isfinite(seconds) or seconds < least:
        raise ValueError(f"{name} is a number of seconds, not {seconds!r}")
    return seconds
