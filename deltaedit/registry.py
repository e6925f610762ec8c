"""Where the catalogue of what others publish was, for programs of then: see ``deltaedit.download``."""

from deltaedit.download import PUBLISHED

__all__ = ["PUBLISHED"]
