from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightframe import UsageError
from lightframe.monitors import check_monitors


def trainer(*callbacks, scheduler=None):
    return SimpleNamespace(
        callbacks=callbacks,
        lr_scheduler_configs=[SimpleNamespace(monitor=scheduler)],
        callback_metrics={"val/loss": 1.0, "val/top1": 0.5, "train/loss": 2.0},
    )


def test_what_is_logged_or_no_value_of_validation():
    check_monitors(trainer(EarlyStopping("val/loss"), ModelCheckpoint(monitor="val/top1"), scheduler="val/loss"))
    check_monitors(trainer(EarlyStopping("train/other"), ModelCheckpoint()))


@pytest.mark.parametrize(
    ("callbacks", "scheduler", "message"),
    [
        ([EarlyStopping("val/top5")], None, r"EarlyStopping monitors 'val/top5', .*did you mean 'val/top1'\?"),
        (
            [ModelCheckpoint(monitor="val/los")],
            None,
            r"ModelCheckpoint monitors 'val/los', .*did you mean 'val/loss'\?",
        ),
        (
            [ModelCheckpoint(filename="{epoch}-{val/top1:.3f}-{val/top5:.3f}")],
            None,
            r"ModelCheckpoint's filename has 'val/top5', .*did you mean 'val/top1'\?",
        ),
        ([], "val/f1", r"the scheduler goes by 'val/f1', which is not logged.* \(logged: val/loss, val/top1\)"),
    ],
)
def test_what_is_not_logged(callbacks, scheduler, message):
    with pytest.raises(UsageError, match=message):
        check_monitors(trainer(*callbacks, scheduler=scheduler))
    mine = type("Mine", (Callback,), {"__module__": "mine"})()  # may log more later
    check_monitors(trainer(*callbacks, mine, scheduler=scheduler))
