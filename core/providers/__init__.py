"""The providers, found by looking: every module here that has a PROVIDER is one."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from core.provider import Provider


def routable() -> tuple[str, ...]:
    """The ids of those that speak a wire; of the others usage is read, and no more."""
    return tuple(name for name, provider in known().items() if provider.paths)


@cache
def known() -> Mapping[str, Provider]:
    """By id."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    found = [m.PROVIDER for m in modules if isinstance(getattr(m, "PROVIDER", None), Provider)]
    return MappingProxyType({provider.id: provider for provider in found})
