"""What training cannot go on from is refused in one line, before any long work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightframe import LightFrameModule
from lightframe.cli.resume import check_fits, check_resumable, ended, other_net, tell_changes
from lightframe.errors import UsageError

FIT = ["--data.root=videos", "--model.net=tiny3d", "--model.net.width=4", "--model.loss=ce"]


@pytest.mark.parametrize(
    ("trained", "typed", "said"),
    [
        ([], ["--model.net.width=8"], "are those of another net than --model.net makes: net."),
        ([], ["--model.optimizer=adamw"], "was trained with optimizer sgd, not adamw"),
        ([], ["--model.optimizer_args.larc=true"], "was trained with no LARC, not with it"),
        (
            ["--model.optimizer=adamw"],
            ["--model.optimizer=adamw", "--model.optimizer_args.no_decay_norm_bias=true"],
            "was trained with parameter groups of [",
        ),
        ([], ["--model.scheduler=cosine"], "was trained with no scheduler or warmup, not with one"),
        (["--model.scheduler=cosine"], [], "was trained with a scheduler or warmup, not without"),
        (["--model.scheduler=cosine"], ["--model.scheduler=linear"], "was trained with scheduler cosine, not linear"),
    ],
)
def test_another_training(
    run: Any, refused: Callable[..., str], trained: list[str], typed: list[str], said: str
) -> None:
    path = run("fit", *FIT, *trained) / "checkpoints/last.ckpt"
    words = [
        f"--ckpt_path={path}",
        "--trainer.max_epochs=2",
        "--data.frames=2",
        "--data.size=16",
        "--trainer.accelerator=cpu",
    ]
    heard = refused("fit", *FIT, *words, *typed)
    assert said in heard
    assert f"--model.init_from {path}" in heard
    assert len(list(Path("runs").iterdir())) == 1


def test_names_of_one_thing(run: Any) -> None:
    path = run("fit", *FIT, "--model.optimizer=sgd") / "checkpoints/last.ckpt"
    run("fit", *FIT, f"--ckpt_path={path}", "--trainer.max_epochs=2", "--model.optimizer=SGD")


def test_what_is_typed_in_vain_is_said(run: Any) -> None:
    path = run("fit", *FIT, "--model.lr=0.1") / "checkpoints/last.ckpt"
    with pytest.warns(UserWarning, match=r"was trained with, lr 0\.1, not 0\.2"):
        again = run("fit", *FIT, f"--ckpt_path={path}", "--trainer.max_epochs=2", "--model.lr=0.2")
    saved = torch.load(again / "checkpoints/last.ckpt", weights_only=True)
    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] == 0.1


def test_other_settings_are_said(run: Any, recwarn: pytest.WarningsRecorder) -> None:
    path = run("fit", *FIT) / "checkpoints/last.ckpt"
    same = ["--trainer.max_epochs=2", "--data.num_workers=1"]
    run("fit", *FIT, f"--ckpt_path={path}", *same)
    assert not [one for one in recwarn if "other settings" in str(one.message)]
    typed = ["--data.batch_size=4", "--seed_everything=3", "--trainer.accumulate_grad_batches=2"]
    said = r"seed_everything 0, not 3; trainer\.accumulate_grad_batches 1, not 2; data\.batch_size 2, not 4$"
    with pytest.warns(UserWarning, match=rf"'{path}' was trained with other settings than this run has.*: {said}"):
        run("fit", *FIT, f"--ckpt_path={path}", *same, *typed)


def test_settings_that_are_not_known_are_not_held_against(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints/last.ckpt"
    tell_changes(str(path), "a: 1")
    for config in ("a: [", "a: !!python/name:os.system", "3", "b: 2", "a: {c: 2}", "a: {init_args: [1]}"):
        (tmp_path / "config.yaml").write_text(config)
        tell_changes(str(path), "a: 1")
    (tmp_path / "config.yaml").write_text("a: 1\nb: {c: 2, init_args: {d: 3, e: " + "x" * 99 + ", f: 4}}")
    now = "{a: 2, b: {c: null, init_args: {d: 3, e: y, f: 5}}}"
    with pytest.warns(UserWarning, match=r": a 1, not 2; b\.c 2, not None; b\.e; and 1 more$"):
        tell_changes(str(path), now, shown=3)


def test_weights_only() -> None:
    check_resumable({}, "hpc")  # which is not looked into
    with pytest.raises(UsageError, match=r"'a\.ckpt' holds weights only.*--model\.init_from a\.ckpt"):
        check_resumable({"state_dict": {}, "loops": {}}, "a.ckpt")


def test_nets_that_differ() -> None:
    one, other = nn.Linear(2, 3).state_dict(), nn.Linear(2, 4).state_dict()
    assert other_net(one, one) is None
    assert other_net(one, other) == "weight is (3, 2) there and (4, 2) here, bias is (3,) there and (4,) here"
    assert other_net({}, one) == "weight is not in it, bias is not in it"
    names = {f"w{number}": torch.zeros(1) for number in range(7)}
    assert other_net(names, {}) == "w0 is not here, w1 is not here, w2 is not here, and 4 more"
    assert other_net({"weight": torch.zeros(9, 9)}, nn.LazyLinear(3, bias=False).state_dict()) is None


def test_a_module_with_ways_of_its_own_is_not_judged() -> None:
    checkpoint = {"state_dict": {}, "optimizer_states": [], "lr_schedulers": []}

    class Migrates(LightFrameModule):
        def on_load_checkpoint(self, checkpoint: Any) -> None: ...

        def configure_optimizers(self) -> Any: ...

    class Later(LightFrameModule):
        def configure_model(self) -> None: ...

    for kind in (Migrates, Later):
        check_fits(checkpoint, kind(nn.Linear(2, 2), "ce"), "a.ckpt")
    check_fits(checkpoint, object(), "a.ckpt")
    with pytest.raises(UsageError, match="another net"):
        check_fits(checkpoint, LightFrameModule(nn.Linear(2, 2), "ce"), "a.ckpt")
    module = LightFrameModule(nn.Linear(2, 2), "ce")
    with pytest.raises(UsageError, match="was trained with no optimizer"):
        check_fits({**checkpoint, "state_dict": module.state_dict()}, module, "a.ckpt")
    module.strict_loading = False
    with pytest.raises(UsageError, match="was trained with no optimizer"):
        check_fits(checkpoint, module, "a.ckpt")


@pytest.mark.parametrize(
    ("done", "steps", "max_epochs", "max_steps", "expected"),
    [
        (1, 10, 2, -1, None),
        (2, 20, 2, -1, "2 of 2 epochs"),
        (3, 30, 2, -1, "3 of 2 epochs"),
        (2, 20, -1, -1, None),
        (2, 20, -1, 20, "20 of 20 steps"),
        (2, 20, None, 21, None),
        (999, 20, None, -1, None),
        (1000, 20, None, -1, "1000 of 1000 epochs"),
        (1000, 20, None, 30, None),
    ],
)
def test_the_end(done: int, steps: int, max_epochs: int | None, max_steps: int, expected: str | None) -> None:
    def checkpoint(**counts: int) -> dict[str, Any]:
        current = {"started": done, "processed": done, "completed": done, **counts}
        return {"loops": {"fit_loop": {"epoch_progress": {"current": current}}}, "global_step": steps}

    found = ended(checkpoint(), max_epochs, max_steps)
    assert found is None if expected is None else str(found).startswith(expected)
    # The last epoch is still to be logged.
    assert ended(checkpoint(completed=done - 1), max_epochs, max_steps) is None
    assert ended(checkpoint(started=done + 1), max_epochs, max_steps) is None
