import torch
from torch import nn

from lightframe.buffer_copies import BufferCopies


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.norm16 = nn.BatchNorm1d(3).half()
        self.register_buffer("table", torch.arange(1000))
        self.register_buffer("queue", torch.zeros(4, 2), persistent=False)
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))
        self.register_buffer("nothing", None)


def spoil(net: Net) -> None:
    net.norm(torch.full((4, 3), torch.nan))
    net.norm16.running_mean.fill_(torch.inf)
    net.queue = net.queue + 1  # another tensor by the same name
    net.pointer += 1


def test_what_a_forward_pass_changes_is_restored() -> None:
    net = Net()
    for _ in range(2):  # the first time memory is taken for them
        copies = BufferCopies(net)
        copies.take()
        net.norm(torch.randn(4, 3))
        net.queue.fill_(7)
        copies.take()
        before = {name: buffer.clone() for name, buffer in net.named_buffers()}
        spoil(net)
        copies.restore()
        assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
        assert net.norm.num_batches_tracked > 0


def test_tables_of_whole_numbers_are_not_copied() -> None:
    net = Net()
    copies = BufferCopies(net)
    copies.take()
    copied = sum(copy.numel() for group in copies._copies for copy in group)
    assert copied == sum(buffer.numel() for buffer in net.buffers()) - 1000


def test_a_net_without_buffers() -> None:
    copies = BufferCopies(nn.Linear(2, 2))
    copies.take()
    copies.restore()
