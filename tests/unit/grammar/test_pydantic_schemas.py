"""Schemas as Pydantic writes them: what the grammar allows is what the model takes."""

from __future__ import annotations

import datetime
import enum
import ipaddress
import random
import uuid
from typing import Annotated, Any, Literal

import pydantic
import pytest

from mlr.grammar.json_schema import schema_grammar
from mlr.grammar.matcher import Matcher
from tests.unit.grammar.json_texts import draw_text


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Node(pydantic.BaseModel):
    """Refers to itself."""

    value: int
    children: list[Node] = []


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = pydantic.Field(ge=0, le=9)


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    weight: float = pydantic.Field(gt=0, lt=100)


class Home(pydantic.BaseModel):
    """A union whose members are told apart by a field, in the form of OpenAPI, and a plain one."""

    pet: Cat | Dog = pydantic.Field(discriminator="kind")
    guest: Cat | Dog | None = None


class Record(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str = pydantic.Field(min_length=1, max_length=5)
    code: str = pydantic.Field(pattern=r"^[A-Z]{2}-\d{3}$")
    tags: list[Colour] = pydantic.Field(min_length=1, max_length=3)
    counts: dict[str, int]
    pair: tuple[int, str]
    day: datetime.date
    at: datetime.datetime
    id: uuid.UUID
    choice: Literal[1, "two", None]
    note: str | None = None
    done: bool = False


class Bounded(pydantic.BaseModel):
    """What the usual types and limits of Pydantic become."""

    share: float = pydantic.Field(gt=0, le=0.75)
    dozens: int = pydantic.Field(multiple_of=12, le=144)
    site: pydantic.AnyUrl
    home: ipaddress.IPv4Address
    far: ipaddress.IPv6Address
    took: datetime.timedelta
    user: str = pydantic.Field(pattern="^[a-z]+(-[a-z0-9]+)*$", min_length=3, max_length=10)
    colours: set[Colour] = pydantic.Field(min_length=1)
    scores: dict[Annotated[str, pydantic.Field(pattern="^[A-Z]{2}$")], int]
    by_colour: dict[Colour, float] = pydantic.Field(min_length=1)


@pytest.mark.parametrize(
    "model", [Node, Home, Record, Bounded], ids=lambda model: str(model.__name__)
)
def test_every_text_is_taken(model: type[pydantic.BaseModel]) -> None:
    schema: dict[str, Any] = model.model_json_schema()
    matcher = Matcher(schema_grammar(schema))
    chance = random.Random(3)
    for _ in range(25):
        model.model_validate_json(draw_text(matcher, chance))
