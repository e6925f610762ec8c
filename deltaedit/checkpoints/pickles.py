"""Where ``RefusedError`` was: see ``deltaedit.untrusted.pickles``."""

from deltaedit.untrusted.pickles import RefusedError

__all__ = ["RefusedError"]
