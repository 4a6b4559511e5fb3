"""Wrong uses of the command line: its words, config files, the Trainer's arguments, folders, the user's own code."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from wrong_uses.case import FIT, Case, write

GPU = torch.cuda.is_available() or torch.backends.mps.is_available()
NO_NET = [word for word in FIT if "model.net" not in word]


def typed(name: str, words: str, *says: str, **more: Any) -> Case:
    """A training with further words."""
    return Case(name, [*FIT, *words.split()], says=says, **more)


COMMANDS = [
    Case("no command", [" "], says=[r"there is no command ' '"]),
    Case("a command that is none", ["fti"], says=[r"there is no command 'fti'", r"did you mean 'fit'\?"]),
    Case("options without a command", ["--data.root=videos"], says=["the command comes first", "lightframe fit"]),
    Case(
        "a config without a command",
        ["--config", "a.yaml"],
        says=["the command comes first", "lightframe fit"],
        setup=write("a.yaml", "model: {lr: 1}"),
    ),
    typed("two commands", "validate", r"'validate' is one word too many", "options begin with --"),
    typed("a word too many", "-x", r"'-x' is one word too many", "options begin with --"),
    typed("two dashes", "--", r"'--' is one word too many", "options begin with --"),
    typed("no value", "--model.lr", r"--model.lr has no value", r"--model.lr VALUE"),
    typed("an empty value", "--model.lr=", r"model.lr: '' does not fit", "expected float"),
    typed("bytes that are no text", "--data.root=vid\udcffeos", "no text in UTF-8", "rename it"),
    typed(
        "an unknown option", "--trainer.max_epochz=3", "there is no 'trainer.max_epochz'", "did you mean .*max_epochs"
    ),
    typed("an option without its section", "--lr=3", "there is no 'lr'", r"did you mean 'model.lr'\?"),
    typed(
        "an option of the wrong section", "--model.max_epochs=3", "model has no argument 'max_epochs'", "it takes net"
    ),
    typed(
        "an argument mistyped", "--data.batchsize=3", "data has no argument 'batchsize'", r"did you mean 'batch_size'"
    ),
    Case("scan without a folder", ["scan"], says=["folder must be given", "--help"]),
    Case("scan of nothing", ["scan", "nope"], says=["'nope' does not exist"]),
    Case(
        "scan with a mistyped option",
        ["scan", "videos", "--worker=3"],
        says=["no '--worker'", "did you mean 'workers'"],
    ),
    Case("scan with no workers", ["scan", "videos", "--workers=0"], says=["workers must be 1 or more", "leave it out"]),
    Case(
        "scan with words for workers",
        ["scan", "videos", "--workers=x"],
        says=["workers: 'x' does not fit", "expected int"],
    ),
    Case("scan with a negative limit", ["scan", "videos", "--time_limit=-1"], says=["time_limit must be a positive"]),
    Case("scan of two folders", ["scan", "videos", "other"], says=["one argument too many: other"]),
    Case(
        "scan into a folder that is not there",
        ["scan", "videos", "--output=a/b.parquet"],
        says=["choose another output"],
    ),
    Case("scan against itself", ["scan", "videos", "--against=videos"], says=["must not stand in each other"]),
    Case(
        "scan against what was not scanned", ["scan", "videos/train", "--against=videos/val"], says=["lightframe scan"]
    ),
    Case("transcode without a target", ["transcode", "videos"], says=["target must be given", "--help"]),
    Case("transcode into itself", ["transcode", "videos", "videos"], says=["choose another target"]),
    Case("transcode of nothing", ["transcode", "nope", "out"], says=["source 'nope' does not exist"]),
    Case(
        "transcode with an unknown option",
        ["transcode", "videos", "out", "--size=3"],
        says=["no '--size'", "short_side"],
    ),
    Case(
        "benchmark of a device that is none", ["benchmark", "--device=foo"], says=["no device 'foo'", "give auto, cpu"]
    ),
    Case("benchmark of a net that is none", ["benchmark", "--nets=[foo]"], says=["unknown net 'foo'", "known: "]),
]


def config(name: str, text: str | bytes, *says: str) -> Case:
    """A training with a config file."""

    def setup(folder: Path) -> None:
        (folder / "a.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    return Case(name, [*FIT, "--config=a.yaml"], says=[*says, "a.yaml"], setup=setup)


CONFIGS = [
    Case("a config that is not there", [*FIT, "--config=b.yaml"], says=["no file 'b.yaml'", "give the path"]),
    Case(
        "a config mistyped",
        [*FIT, "--config=a.yml"],
        says=["no file 'a.yml'", r"did you mean 'a.yaml'"],
        setup=write("a.yaml", "model: {lr: 1}"),
    ),
    Case("a config that is a folder", [*FIT, "--config=videos"], says=["'videos' is a folder", "give the file"]),
    Case("a config by its address", [*FIT, "--config=http://localhost:1/a.yaml"], says=["no file", "download it"]),
    Case("no config", ["fit", "--config"], says=["--config has no value", "--config VALUE"]),
    config("an empty config", "", "is empty", "write settings"),
    config("a config that is a list", "- 1\n- 2\n", "has no sections", "write settings"),
    config("a config that is a word", "hello", "has no sections", "write settings"),
    config("a config that is not YAML", "model: {lr: 0.1\ndata: [\n", "is not YAML, line 2", "look at this line"),
    config("a config with an unknown alias", "model: *nope\n", "is not YAML, line 1", "nope"),
    config("a config with tabs", "model:\n\tlr: 0.1\n", "line 2", "indent with spaces"),
    config("a config of bytes", bytes(range(256)), "no text in UTF-8", "saved as UTF-8"),
    config("a config in Latin-1", "model: {net: ä}\n".encode("latin-1"), "no text in UTF-8", "saved as UTF-8"),
    config("a config with control characters", "model: {lr: \x07}\n", "is not YAML", "no text editor shows"),
    config(
        "a setting twice", "model:\n  lr: 0.1\n  lr: 0.2\n", "'model.lr' stands twice, in line 2 and line 3", "take one"
    ),
    config(
        "a section twice",
        "model: {lr: 1}\ndata: {size: 16}\nmodel: {net: tiny3d}\n",
        "'model' stands twice",
        "take one",
    ),
    config("an empty section", "model:\n", "line 1: the section 'model' is empty", "take the line out"),
    config("a section that is a list", "model: [lr, 0.1]\n", "line 1: the section 'model'", "must hold settings"),
    config("a section that is a number", "data: 3\n", "line 1: the section 'data'", "must hold settings"),
    config("a trainer that is a word", "trainer: fast\n", "line 1: the section 'trainer'", "must hold settings"),
    config(
        "a config that would run code", "model: !!python/object/apply:os.system ['touch a']\n", "must hold settings"
    ),
    config("a setting without a name", "model: {1: 2}\n", "line 1: '1' is no name of a setting", "write name: value"),
    Case(
        "a section in another",
        [*FIT, "--config=a.yaml"],
        says=["model has no argument 'trainer.max_epochs'", "--trainer.max_epochs"],
        setup=write("a.yaml", "model: {trainer: {max_epochs: 3}}\n"),
    ),
    Case(
        "a section below the command",
        [*FIT, "--config=a.yaml"],
        says=["there is no 'fit.model.lr'", r"did you mean 'model.lr'\?"],
        setup=write("a.yaml", "fit: {model: {lr: 3}}\n"),
    ),
    Case(
        "a key of another class",
        [*FIT, "--config=a.yaml"],
        says=["model has no argument 'backbone'", "it takes net, loss"],
        setup=write("a.yaml", "model: {backbone: r50}\n"),
    ),
]

TYPES = [
    typed("one number for views", "--data.views=3", r"data.views: '3' does not fit", r"a list such as \[1, 1\]"),
    typed("a word for fps", "--data.fps=abc", r"data.fps: 'abc' does not fit", "expected float"),
    typed("a word for the batch size", "--data.batch_size=two", r"data.batch_size: 'two'", "expected int"),
    typed("a word for lr", "--model.lr=abc", r"model.lr: 'abc' does not fit", "expected float"),
    typed("nan for lr", "--model.lr=nan", r"model.lr: 'nan' does not fit", "expected a finite float"),
    typed("a word for epochs", "--trainer.max_epochs=ten", r"trainer.max_epochs: 'ten'", "expected int"),
    typed("a word for a switch", "--trainer.detect_anomaly=5", r"trainer.detect_anomaly: '5'", "expected bool"),
    typed("another choice", "--run_folder=foo", r"run_folder: 'foo' is none of count, time"),
    typed("a word for the seed", "--seed_everything=abc", r"seed_everything: 'abc'", "expected .*int"),
    typed("a negative seed", "--seed_everything=-1", r"seed_everything=-1", "give a number from 0 to 4294967295"),
    typed("a huge seed", "--seed_everything=99999999999", r"99999999999", "give a number from 0 to 4294967295"),
    typed(
        "an argument of a loss in the place of a loss",
        "--model.loss.label_smoothing=0.1",
        r"--model.loss.label_smoothing: say of which loss",
        r"--model.loss.ce.label_smoothing",
    ),
]

CLASSES = [
    typed("data mistyped", "--data=VideoDataModul", "no class 'VideoDataModul'", "did you mean 'VideoDataModule'"),
    typed("data mistyped with its path", "--data=lightframe.VideoDataModul", "has no 'VideoDataModul'", "did you mean"),
    typed("synthetic data mistyped", "--data=SyntheticVideoData", "did you mean 'SyntheticVideoDataModule'"),
    typed("a folder for data", "--data=videos", "'videos' is no class", "--data.root videos"),
    typed("a module for data", "--data=lightframe.LightFrameModule", "is no LightningDataModule", "give a class"),
    typed("a module mistyped", "--model=LightFrameModul", "did you mean 'LightFrameModule'"),
    typed("a module that cannot be imported", "--model=nowhere.Module", "no module 'nowhere'"),
    typed("a net for the module", "--model=tiny3d", "'tiny3d' is a net", "give --model.net tiny3d"),
    typed("a layer for the module", "--model=torch.nn.Linear", "is no LightFrameModule", "derive it", "--model.net"),
    typed("a function for the module", "--model=math.sin", "is no LightFrameModule", "give a class"),
    typed("a number for the module", "--model=3", "no class '3'", "known: LightFrameModule"),
    typed(
        "a callback mistyped",
        "--trainer.callbacks+=EarlyStoping",
        "no class 'EarlyStoping'",
        "did you mean 'EarlyStopping'",
    ),
    typed(
        "a callback mistyped with its path",
        "--trainer.callbacks+=lightframe.callbacks.EvalTotl",
        "did you mean 'EvalTotal'",
    ),
    typed(
        "a class that is no callback",
        "--trainer.callbacks+=torch.nn.Linear",
        "no Callback",
        "give a class derived from",
    ),
    typed(
        "a callback without its argument",
        "--trainer.callbacks+=EarlyStopping",
        "needs an argument",
        "callbacks.monitor",
    ),
    typed(
        "a callback's argument mistyped",
        "--trainer.callbacks+=lightframe.callbacks.LossGuard --trainer.callbacks.acton=skip",
        "no argument 'acton'",
        "did you mean 'action'",
    ),
    typed(
        "a word for a callback's number",
        "--trainer.callbacks+=lightframe.callbacks.LossGuard --trainer.callbacks.max_skips=foo",
        r"trainer.callbacks.max_skips: 'foo' does not fit; expected int",
    ),
    typed(
        "a callback's choice",
        "--trainer.callbacks+=lightframe.callbacks.LossGuard --trainer.callbacks.action=foo",
        "action must be",
        "stop",
        "skip",
    ),
    typed(
        "checkpoints by what no number is",
        "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.save_top_k=-3",
        ">= -1",
    ),
    typed(
        "the best of nothing", "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.save_top_k=3", "monitor=None"
    ),
    typed(
        "the same callback twice",
        "--trainer.callbacks+=lightframe.callbacks.EMA --trainer.callbacks+=lightframe.callbacks.EMA",
        "two callbacks EMA",
        "leave one of them out",
    ),
    typed("a logger mistyped", "--trainer.logger=CSVLoger", "no class 'CSVLoger'", "did you mean 'CSVLogger'"),
]

TRAINER = [
    typed("a device that is none", "--trainer.devices=x", "'x' is no number of devices", "give a number"),
    typed("no devices", "--trainer.devices=0", "trainer.devices=0", "give 1 or more"),
    typed("negative devices", "--trainer.devices=-2", "trainer.devices=-2", "give 1 or more"),
    typed("an accelerator that is none", "--trainer.accelerator=gpuu", "there is no 'gpuu'", "did you mean 'gpu'"),
    typed("no machines", "--trainer.num_nodes=0", "num_nodes must be 1 or more", "number of machines"),
    typed("a word for machines", "--trainer.num_nodes=two", "trainer.num_nodes: 'two' does not fit", "expected int"),
    typed("a strategy that is none", "--trainer.strategy=ddpp", "there is no 'ddpp'", "did you mean 'ddp'"),
    typed("a precision that is none", "--trainer.precision=bf16mixed", "none of", "did you mean 'bf16-mixed'"),
    typed("float16 on a CPU", "--trainer.precision=16-mixed", "CPU does not train in mixed float16", "give bf16-mixed"),
    typed("float8 on a CPU", "--trainer.precision=transformer-engine", "float8 needs", "give bf16-mixed"),
    typed("negative epochs", "--trainer.max_epochs=-5", "max_epochs must be -1 or more", "-1 trains until"),
    typed("negative steps", "--trainer.max_steps=-3", "max_steps must be -1 or more", "leaves the end to max_epochs"),
    typed("more epochs at least than at most", "--trainer.min_epochs=5", "more than trainer.max_epochs=1", "leave one"),
    typed("nothing to train on", "--trainer.limit_train_batches=0", "trains nothing", "lightframe validate"),
    typed("half a batch", "--trainer.limit_train_batches=1.5", "give a share from 0.0 to 1.0, or a whole number"),
    typed("less than no batches", "--trainer.limit_val_batches=-1", "give a share from 0.0 to 1.0, or a whole number"),
    typed("half a batch to overfit", "--trainer.overfit_batches=2.5", "give a share from 0.0 to 1.0"),
    typed("no accumulation", "--trainer.accumulate_grad_batches=0", "must be 1 or more", "1 accumulates nothing"),
    typed(
        "negative clipping",
        "--trainer.gradient_clip_val=-1",
        "gradient_clip_val must be 0 or more",
        "null clips nothing",
    ),
    typed("clipping by what is none", "--trainer.gradient_clip_algorithm=foo", "foo is invalid", "'value', 'norm'"),
    typed(
        "validation after the epoch", "--trainer.val_check_interval=100", "less than or equal to .* batches", "set '"
    ),
    typed("validation at once", "--trainer.val_check_interval=0", "val_check_interval=0", "limit_val_batches=0"),
    typed("validation after 1.5", "--trainer.val_check_interval=1.5", "give a share from 0.0 to 1.0"),
    typed("validation in no epoch", "--trainer.check_val_every_n_epoch=0", "must be 1 or more", "limit_val_batches=0"),
    typed("a time that is none", "--trainer.max_time=garbage", "'garbage'", "not a valid duration", "DD:HH:MM:SS"),
    typed(
        "negative logging", "--trainer.log_every_n_steps=-1", "log_every_n_steps must be 0 or more", "0 logs nothing"
    ),
    typed("a wrong sanity check", "--trainer.num_sanity_val_steps=-7", "must be -1 or more", "0 is for none"),
    typed("negative batches in a trial", "--trainer.fast_dev_run=-1", "must be 0 or more", "give true"),
    typed("a profiler that is none", "--trainer.profiler=foo", "profiler", "'simple', 'advanced'"),
    typed("a word for plugins", "--trainer.plugins=foo", "trainer.plugins: 'foo' does not fit", "expected list"),
    typed(
        "checkpoints that are switched off",
        "--trainer.enable_checkpointing=false --trainer.callbacks+=ModelCheckpoint",
        "enable_checkpointing=False",
    ),
    typed(
        "a checkpoint by a metric mistyped",
        "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitor=val/topp1",
        r"'val/topp1', which is not logged; did you mean 'val/top1'\?",
        "there are: val/loss",
    ),
    typed(
        "a file name with a metric mistyped",
        "--trainer.callbacks+=Checkpointer --trainer.callbacks.filename={epoch}-{val/topp1:.3f}",
        r"filename has 'val/topp1', which is not logged; did you mean 'val/top1'\?",
    ),
    typed(
        "stopping by a metric mistyped",
        "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor=train/los",
        r"'train/los', which is not logged; did you mean 'train/loss'\?",
    ),
    typed(
        "stopping by a test metric",
        "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor=test/top1",
        "a training does not test",
        "give one of val/",
    ),
    typed(
        "stopping by the validation of nothing",
        "--data.root=null --data.train=videos/train --trainer.callbacks+=EarlyStopping "
        "--trainer.callbacks.monitor=val/top1",
        "there is no validation",
        "give a val split",
    ),
]
if not GPU:
    TRAINER += [
        typed("no GPU here", "--trainer.accelerator=gpu", "finds no GPU here", "--trainer.accelerator cpu"),
        typed(
            "four GPUs of none", "--trainer.accelerator=gpu --trainer.devices=4", "finds no GPU here", "leave it out"
        ),
        typed("no CUDA here", "--trainer.accelerator=cuda", "finds no GPU here", "--trainer.accelerator cpu"),
        Case("benchmark without a GPU", ["benchmark", "--device=cuda"], says=["no device 'cuda' here", "0 CUDA GPUs"]),
    ]

LONG = "x" * 300
FOLDERS = [
    typed(
        "a file for the runs",
        "--trainer.default_root_dir=videos/train/jump/0.mkv",
        "cannot make a run folder",
        "give another",
    ),
    typed(
        "below a file",
        "--trainer.default_root_dir=videos/train/jump/0.mkv/a",
        "cannot make a run folder",
        "give another",
    ),
    typed("a name that is too long", f"--trainer.default_root_dir={LONG}", "File name too long", "give another"),
    typed(
        "a path that is too long",
        f"--trainer.default_root_dir={'/'.join(['y' * 200] * 25)}",
        "too long",
        "give another",
    ),
    typed("a folder with a null byte", "--trainer.default_root_dir=a\0b", "null", "give another"),
    typed("a folder where nothing can be made", "--trainer.default_root_dir=/proc/runs", "cannot make", "give another"),
    typed(
        "a bucket for a folder", "--trainer.default_root_dir=s3://bucket/x", "no folder of this machine", "copy the run"
    ),
    typed("a checkpoint that is not there", "--ckpt_path=nope.ckpt", r"nope\.ckpt"),
    typed("a video for a checkpoint", "--ckpt_path=videos/train/jump/0.mkv", r"0\.mkv' is no"),
    typed("a folder for a checkpoint", "--ckpt_path=videos", "'videos' is a folder"),
    typed("the best checkpoint by its name", "--ckpt_path=best", "name the file"),
    Case(
        "predict without a checkpoint",
        ["predict", "--data.predict=videos/test"],
        says=["give --model.net, or the checkpoint", "--ckpt_path"],
    ),
    Case(
        "validate without a checkpoint",
        ["validate", "--data.root=videos"],
        says=["give --model.net, or the checkpoint", "--ckpt_path"],
    ),
    Case(
        "test without a checkpoint",
        ["test", "--data.root=videos"],
        says=["give --model.net, or the checkpoint", "--ckpt_path"],
    ),
    Case(
        "predict without a loss",
        [
            "predict",
            "--data.predict=videos/test",
            "--model.net=tiny3d",
            "--model.num_classes=2",
            "--data.num_workers=0",
        ],
        says=["computes no loss of its own", "give loss"],
    ),
]

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=2):
        super().__init__()
        self.layer = nn.Linear(3, num_classes)
    def forward(self, x):
        return self.layer(x.mean((2, 3, 4)))
"""

RAISES = """
class Mine(BASE):
    def __init__(self):
        raise ValueError('my own error')
"""


def net(name: str, *says: str, words: Sequence[str] = (), shows: str | None = None, **parts: str) -> Case:
    """A training of one's own net, with parts of its code in the place of others."""
    text = parts.get("text") or NET
    text = text.replace("nn.Linear(3, num_classes)", parts.get("layer", "nn.Linear(3, num_classes)"))
    text = text.replace(
        "return self.layer(x.mean((2, 3, 4)))", parts.get("forward", "return self.layer(x.mean((2, 3, 4)))")
    )
    setup: Callable[[Path], Any] = write("my_nets.py", text)
    return Case(name, [*NO_NET, "--model.net=my_nets.Net", *words], says=says, setup=setup, shows=shows)


OWN = [
    net("a net mistyped", "'my_nets' has no 'Nett'", "did you mean 'Net'", words=["--model.net=my_nets.Nett"]),
    net(
        "a net that is no module",
        "makes a Net, not an nn.Module",
        text="class Net:\n    def __init__(self, num_classes): pass\n",
    ),
    net("a net that is a number", "which cannot be called", text="Net = 3\n"),
    net("a net without parameters", "nothing to train", layer="None", forward="return x.mean((2, 3, 4))[:, :2]"),
    net(
        "a net for images",
        r"my_nets\.Net does not take inputs of shape \(2, 3, 2, 16, 16\)",
        r"got input of size",
        r"my_nets\.py, line 9",
        "change the net, or the clips",
        layer="nn.Conv2d(3, 2, 3)",
        forward="return self.layer(x).mean((2, 3))",
    ),
    net(
        "a net for other clips",
        r"does not take inputs of shape",
        "2x1536 and 3x2",
        forward="return self.layer(x.flatten(1))",
    ),
    net(
        "a net for other channels",
        r"does not take inputs of shape",
        "to have 1 channels, but got 3",
        layer="nn.Conv3d(1, 2, 1)",
        forward="return self.layer(x).mean((2, 3, 4))",
    ),
    net(
        "a net for longer clips",
        r"does not take inputs of shape",
        "--data.frames",
        layer="nn.Conv3d(3, 2, (9, 1, 1))",
        forward="return self.layer(x).mean((2, 3, 4))",
    ),
    net("a net that gives nothing", "outputs as one tensor, not NoneType", "override compute_loss", forward="pass"),
    net(
        "a net that gives a dict",
        "not dict",
        "override compute_loss",
        forward="return {'out': self.layer(x.mean((2, 3, 4)))}",
    ),
    net(
        "a net that loses samples",
        r"do not fit outputs of shape \(1, 2\)",
        forward="return self.layer(x.mean((2, 3, 4)))[:1]",
    ),
    net("a net with one output", "at least two", "use 'bce'", layer="nn.Linear(3, 1)"),
    net(
        "a net that is detached",
        "the loss depends on no weight that is trained",
        "detach",
        forward="return self.layer(x.mean((2, 3, 4))).detach()",
    ),
    net("a net of one's own that gets the batch", "give --model.loss ce", words=["--model.loss=null"]),
    net("a net that raises when it is made", layer="{}['my own error']", shows="my own error"),
    net("a net that raises in forward", forward="raise RuntimeError('my own error')", shows="my own error"),
    net("a net with a syntax error", text="def f(:\n", shows="invalid syntax"),
    net("a net whose import fails", text="import my_nothing\n", shows="No module named 'my_nothing'"),
    net("a net whose import raises", text="raise RuntimeError('my own error')\n", shows="my own error"),
    Case(
        "a callback of one's own that raises",
        [*FIT, "--trainer.callbacks+=my_nets.Mine"],
        shows="my own error",
        setup=write("my_nets.py", "from lightning.pytorch import Callback\n" + RAISES.replace("BASE", "Callback")),
    ),
    Case(
        "a callback of one's own with a syntax error",
        [*FIT, "--trainer.callbacks+=my_nets.Mine"],
        shows="invalid syntax",
        setup=write("my_nets.py", "def f(:\n"),
    ),
    Case(
        "data of one's own that raise",
        [*[word for word in FIT if "data." not in word], "--data=my_nets.Mine"],
        shows="my own error",
        setup=write(
            "my_nets.py", "from lightframe import VideoDataModule\n" + RAISES.replace("BASE", "VideoDataModule")
        ),
    ),
    Case(
        "a module of Lightning's kind",
        ["fit", "--model=my_nets.Mine", "--data.root=videos"],
        says=["my_nets.Mine is no LightFrameModule", "derive it from lightframe.LightFrameModule"],
        setup=write("my_nets.py", "import lightning.pytorch as pl\nclass Mine(pl.LightningModule):\n    pass\n"),
    ),
]

CASES: list[Case] = [*COMMANDS, *CONFIGS, *TYPES, *CLASSES, *TRAINER, *FOLDERS, *OWN]
