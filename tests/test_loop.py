"""The shared training loop: what a kill or a bad number must not cost."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch

from deltaedit.devices import half_precision
from deltaedit.loop import fit, learning_rate, step_rng


def run(folder, steps=40, *, stop_after=None, bad_at=None, describes="a line", save_every=10):
    model = torch.nn.Linear(3, 1)
    with torch.no_grad():  # the same in every thread
        model.weight.copy_(torch.tensor([[0.3, -0.2, 0.1]]))
        model.bias.zero_()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)

    def step_fn(step, rng):
        x = torch.randn(16, 3, generator=rng)
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss * (float("nan") if step == bad_at else 1)}

    log = fit(
        step_fn,
        steps,
        carries={"model": model, "optimizer": optimizer},
        folder=folder,
        seed=3,
        describes=describes,
        save_every=save_every,
        log_every=5,
        stop_after=stop_after,
    )
    return model.weight.detach().clone(), log


def test_a_run_that_was_stopped_ends_where_the_whole_one_does(tmp_path):
    whole, log = run(tmp_path / "whole")
    run(tmp_path / "parts", stop_after=13)
    run(tmp_path / "parts", stop_after=9)
    parts, log_of_parts = run(tmp_path / "parts")
    assert torch.equal(whole, parts)
    assert log[-1]["loss"] == pytest.approx(log_of_parts[-1]["loss"])
    assert [row["step"] for row in log][-1] == 40


def test_a_finished_run_is_not_run_again(tmp_path):
    weight, log = run(tmp_path)
    again, log_again = run(tmp_path)
    assert torch.equal(weight, again)
    assert log == log_again


def test_not_a_number_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError, match="by step 25.*checkpoint before it"):
        run(tmp_path, bad_at=22)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 20
    assert torch.isfinite(saved["state"]["model"]["weight"]).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
        lambda whole: bytes(len(whole)),
        lambda whole: whole[:400] + bytes(200) + whole[600:],  # torch itself reads zeros then
        lambda whole: b"<html>not found</html>",
    ],
    ids=["cut", "empty", "zeros", "zeros within", "a page"],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_gone_on_from(tmp_path, damage):
    whole, _ = run(tmp_path / "whole")
    folder = tmp_path / "run"
    run(folder, stop_after=20)
    path = folder / "checkpoint.pt"
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(ValueError) as refusal:
        run(folder)
    said = str(refusal.value)
    assert f"{path} is damaged: it was set aside as checkpoint-damaged.pt; run again, and the training goes on" in said
    assert "\n" not in said
    assert "weights_only" not in said
    assert (folder / "checkpoint-damaged.pt").read_bytes() == damaged
    assert torch.load(path, weights_only=True)["step"] == 10
    assert torch.equal(run(folder)[0], whole)


def test_without_one_before_it_the_run_begins_anew(tmp_path):
    whole, _ = run(tmp_path / "whole")
    run(tmp_path / "run", stop_after=5)
    (tmp_path / "run/checkpoint.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="run again, and the training begins anew"):
        run(tmp_path / "run")
    assert torch.equal(run(tmp_path / "run")[0], whole)


def test_of_two_runs_at_once_one_works(tmp_path):
    with ThreadPoolExecutor(2) as threads:
        (a, log), (b, other) = threads.map(lambda _: run(tmp_path / "run", save_every=40), range(2))
    assert torch.equal(a, b)
    assert log == other, "seconds are measured once"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_finished_run_is_read_where_nothing_can_be_written(tmp_path):
    weight, _ = run(tmp_path / "run", stop_after=20)
    (tmp_path / "run").chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="checkpoint.pt could not be written .*: make room, or choose"):
            run(tmp_path / "run")
        assert torch.equal(run(tmp_path / "run", steps=20)[0], weight)
    finally:
        (tmp_path / "run").chmod(0o700)


def test_a_checkpoint_of_another_run_is_refused_and_what_differs_is_named(tmp_path):
    run(tmp_path, stop_after=10, describes={"model": {"size": 64, "seed": 0}, "stages": [{"lr": 0.1}]})
    with pytest.raises(ValueError) as refusal:
        run(tmp_path, describes={"model": {"size": 128, "seed": 0, "ema": 0.9}, "stages": [{"lr": 0.2}]})
    assert (
        "another run (model.size: 64 there, 128 here; model.ema: nothing there, 0.9 here; stages.0.lr: 0.1 there, "
        "0.2 here): choose another place" in str(refusal.value)
    )


def test_randomness_depends_on_seed_and_step_alone():
    def draw(seed, step):
        return torch.rand(1, generator=step_rng(seed, step)).item()

    assert draw(1, 5) == draw(1, 5)
    assert len({draw(0, 0), draw(0, 1), draw(1, 0), draw(1, 1)}) == 4


def test_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100] == rates[600] == 1.0
    assert all(a >= b for a, b in pairwise(rates[700:]))
    assert rates[-1] < 0.001


@pytest.mark.parametrize("instructions", [True, False])
def test_precision_is_halved_only_where_that_is_faster(monkeypatch, instructions):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    x = torch.randn(4, 4)
    with half_precision("cpu"):
        assert (x @ x).dtype == (torch.bfloat16 if instructions else torch.float32)
    with half_precision("cpu", wanted=False):
        assert (x @ x).dtype == torch.float32
