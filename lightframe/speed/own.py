"""The user's own net, as its adapter trains it, in a copy that can be measured without the net noticing."""

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.utilities.compile import to_uncompiled
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.optim import Optimizer

from lightframe.loss_result import LossResult
from lightframe.module import LightFrameModule
from lightframe.optimizers import OPTIMIZERS, build_optimizer
from lightframe.speed.subject import NotMeasured, Subject

OWN = "own"  # the name that stands for it


def own_subject(module: LightFrameModule, batch: Any) -> Subject:
    """A copy of an adapter with a copy of a batch; neither the module nor the batch is changed by measuring it.

    A training step is the adapter's own: its `unpack`, `forward`, `compute_loss` and `parameter_groups`, with the
    optimizer that it names. Nothing of it is logged, and what other processes do does not matter: synchronised batch
    norm is measured as plain batch norm.

    Args:
        module: on the device.
        batch: as `training_step` gets it.
    """
    own = _copy(module)
    own_batch = apply_to_collection(batch, Tensor, lambda tensor: tensor.detach().clone())
    computes_loss = own._net_computes_loss

    def predict(batch: Any) -> Any:
        return own.net(batch) if computes_loss else own(own.unpack(batch)[0])

    def loss(batch: Any) -> Tensor:
        if computes_loss:
            return LossResult.of(own.net(batch)).total
        inputs, targets = own.unpack(batch)
        return LossResult.of(own.compute_loss(own(inputs), targets)).total

    def optimizer() -> Optimizer:
        if type(own).configure_optimizers is not LightFrameModule.configure_optimizers:
            raise NotMeasured("configure_optimizers is overridden, and without a training it cannot be called")
        return build_optimizer(own.optimizer, own.parameter_groups(), own.lr, own.optimizer_args)

    return Subject(own, own.net, own_batch, predict, loss, optimizer)


def own_name(module: LightFrameModule) -> str:
    """What the net was named by, or else its class."""
    net = module.hparams.get("net")
    if isinstance(net, Mapping):
        net = net.get("name") or net.get("class_path")
    return net if isinstance(net, str) else type(module.net).__qualname__


def optimizer_name(module: LightFrameModule) -> str:
    """The name of the adapter's optimizer."""
    return OPTIMIZERS.resolve(module.optimizer)[0]


def own_batch_shape(batch: Any) -> tuple[int, ...]:
    """The shape of the largest tensor of a batch.

    >>> import torch
    >>> own_batch_shape({"video": torch.zeros(2, 3, 4, 8, 8), "label": torch.zeros(2)})
    (2, 3, 4, 8, 8)
    """
    tensors: list[Tensor] = []
    apply_to_collection(batch, Tensor, tensors.append)
    return tuple(max(tensors, key=Tensor.numel).shape) if tensors else ()


def _copy(module: LightFrameModule) -> LightFrameModule:
    own: LightningModule = copy.deepcopy(module)  # without its trainer, which Lightning leaves out
    if own._compiler_ctx is not None:
        # What torch.compile made of the module's methods is a function, which a copy shares: it would train the module.
        own = to_uncompiled(own)
    own = TorchSyncBatchNorm().revert(own)  # type: ignore[assignment]
    own.zero_grad(set_to_none=True)
    assert isinstance(own, LightFrameModule)
    return own


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's word on every `self.log` of a module that has no trainer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*`self\.log\(\)` but the `self\.trainer` reference")
        yield
