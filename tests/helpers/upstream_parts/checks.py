"""What a part is, and the checks that find out whether one has moved."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """One non-public part of a library."""

    library: str
    """Name of the distribution."""
    name: str
    """The part, as an engineer would search for it in the library's source."""
    used_by: str
    """Path of the module that uses it."""
    purpose: str
    """Why no public way was taken."""
    check: Callable[[], object]
    """Raises, or returns a false value, where the part has moved."""
    private_names: tuple[str, ...] = ()
    """Underscored attributes and imports in our code that this part accounts for."""


def load(path: str) -> Any:
    """Return the object at `package.module:attribute.attribute`."""
    module, _, attributes = path.partition(":")
    found: Any = importlib.import_module(module)
    for name in attributes.split(".") if attributes else ():
        found = getattr(found, name)
    return found


def has(path: str, *attributes: str) -> Callable[[], bool]:
    """Check that an object exists and has the attributes."""
    return lambda: all(hasattr(load(path), name) for name in attributes)


def says(path: str, *texts: str) -> Callable[[], bool]:
    """Check that the source of an object (a module, a class, a function) still contains texts."""
    return lambda: all(text in inspect.getsource(load(path)) for text in texts)


def takes(path: str, *parameters: str) -> Callable[[], bool]:
    """Check that a callable still has parameters of these names."""
    return lambda: set(parameters) <= set(inspect.signature(load(path)).parameters)


def has_mlmodel_fields() -> bool:
    model = load("mlflow.models:Model")().to_dict()
    return {"model_uuid", "utc_time_created", "flavors"} <= set(model)


def has_columns(path: str, *columns: str) -> Callable[[], bool]:
    return lambda: set(columns) <= {column.name for column in load(path).__table__.columns}


def list_columns(name: str) -> Any:
    """The columns of a table of Prefect's server."""
    return load(f"prefect.server.database.orm_models:{name}").__table__.columns
