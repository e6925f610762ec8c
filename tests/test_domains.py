"""A domain's folder, and what tells it from others."""

from deltaedit.domains import weights


def test_weights_are_told_apart(tmp_path):
    (tmp_path / "domain.json").write_text("{}")
    empty = weights(tmp_path)
    (tmp_path / "mapper.safetensors").write_bytes(b"1")
    assert weights(tmp_path) != empty
    assert len(weights("portraits")) == 12
