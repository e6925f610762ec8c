import pytest
import torch
from golden_weights import golden_arrays, golden_state, relative_error

from deltaedit import checkpoints


@torch.inference_mode()
def test_generator_gives_the_published_outputs(tmp_path):
    torch.save({"g_ema": golden_state("rosinality_64"), "latent_avg": torch.ones(512)}, tmp_path / "generator.pt")
    generator = checkpoints.load_generator(tmp_path / "generator.pt")
    golden = golden_arrays("rosinality_64")
    w = generator.mapping(golden["z"])
    s = generator.styles(w)
    assert generator.layout.dims == tuple(golden["dims"].tolist())
    assert torch.equal(generator.w_avg, torch.ones(512))
    assert relative_error(w, golden["w"]) < 1e-4
    assert relative_error(s, golden["s"]) < 1e-4
    assert relative_error(generator.synthesize(s, w), golden["image"]) < 1e-4
    assert relative_error(generator.synthesize(s + golden["delta_s"], w), golden["image_edited"]) < 1e-4


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "generator.pt"
    with pytest.raises(ValueError, match="there is no file"):
        checkpoints.load_generator(path)
    torch.save({"g_ema": golden_state("rosinality_64")["style.1.bias"]}, path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.load_generator(path)
    torch.save({"weight": torch.ones(3)}, path)
    with pytest.raises(ValueError, match="no StyleGAN2 generator"):
        checkpoints.load_generator(path)


def test_no_code_of_a_file_is_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (pytest.fail, ("code of the file was run",))

    torch.save({"g_ema": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="more than tensors"):
        checkpoints.load_generator(tmp_path / "evil.pt")
