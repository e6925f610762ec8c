"""DeltaEdit: edit pictures from text with a model that never saw text (Lyu et al., CVPR 2023)."""

from importlib import import_module
from typing import Any

_HOME = {
    "ClipEncoder": "clip",
    "DeltaMapper": "mapper",
    "Domain": "domain",
    "Edit": "editor",
    "Editor": "editor",
    "EditorWidget": "widgets",
    "Encoder": "e4e",
    "FeatureStore": "features",
    "Generator": "stylegan2",
    "GeneratorConfig": "stylegan2",
    "Latent": "editor",
    "MapperConfig": "mapper",
    "MapperTraining": "training",
    "add_pictures": "features",
    "estimate_relevance": "relevance",
    "extract_features": "features",
    "relevance_mask": "relevance",
    "train_encoder": "inversion",
    "train_mapper": "training",
}
__all__ = sorted([*_HOME, "checkpoints", "domains"])


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch and open_clip take seconds."""
    if name in _HOME:
        return getattr(import_module(f"deltaedit.{_HOME[name]}"), name)
    if name in __all__:
        return import_module(f"deltaedit.{name}")
    raise AttributeError(f"module 'deltaedit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
