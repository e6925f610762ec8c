"""What the book shows of real faces."""

from __future__ import annotations

from deltaedit.worlds.faces.words import PROMPTS
from deltaedit.worlds.world import Examples

EXAMPLES = Examples.of(
    first="smiling face, face with glasses, child's face, face with blond hair, old face, "
    "face with sunglasses, female face, face with curly hair, serious face",
    two_way="smiling face, young face, female face",
    recognised="face with glasses, face with sunglasses, face with a beard, smiling face, face with a hat, "
    "face with long hair",
    channels="smiling face, face with glasses, face with blond hair, face with a hat, child's face",
    learned="smiling face, face with glasses, face with curly hair, child's face, face with blond hair",
    edits="smiling face, face with glasses, child's face, face with blond hair, old face, "
    "face with curly hair, female face",
    wordings="smiling face, happy face, a grinning person, a photo of somebody who laughs, cheerful, "
    "a face that beams, jocund",
    pairs="smiling face + face with glasses, face with blond hair + face with curly hair, "
    "face with glasses + face with long hair, child's face + smiling face",
    removable="glasses, beard",
    degrees=(-1.0, -0.5, 0.0, 0.5, 1.0),
)
ASKED = tuple(dict.fromkeys(prompt for prompt, neutral, _ in PROMPTS if neutral == "face"))
"""What can be asked of any face."""
SHEET = (
    *("smiling face", "serious face", "face with glasses", "face with sunglasses", "face with a beard", "child's face"),
    *("old face", "female face", "face with blond hair", "face with curly hair", "face with bangs", "face with a hat"),
)
"""For the sheet that is looked at: what people ask first, also where it goes badly."""
