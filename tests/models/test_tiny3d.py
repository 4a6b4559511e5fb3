import pytest
import torch

from lightframe.models import MODELS


def test_number_of_parameters():
    with torch.device("meta"):
        net = MODELS.build("tiny3d", num_classes=6, width=8)
    convolutions = 3 * 16 * 75 + 16 * 16 * 27 + 16 * 32 * 27
    norms = 2 * (16 + 16 + 32)
    assert sum(parameter.numel() for parameter in net.parameters()) == convolutions + norms + 32 * 6 + 6


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 20), (8, 64, 64), (5, 33, 47)])
def test_any_clip(shape):
    net = MODELS.build("tiny3d", num_classes=6, width=4)
    assert net(torch.randn(2, 3, *shape)).shape == (2, 6)


def drifting_noise(clips: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise that moves one or two pixels a frame, left (0), right (1), up (2) or down (3); no single frame tells."""
    labels = torch.randint(4, (clips,), generator=generator)
    videos = torch.empty(clips, 3, 8, 32, 32)
    for video, label in zip(videos, labels.tolist(), strict=True):
        texture = torch.randn(3, 8, 8, generator=generator).repeat_interleave(4, 1).repeat_interleave(4, 2)
        texture = texture.roll(torch.randint(4, (2,), generator=generator).tolist(), dims=(1, 2))
        step = int(torch.randint(1, 3, (), generator=generator)) * (1 if label % 2 else -1)
        for frame in range(8):
            video[:, frame] = texture.roll(step * frame, dims=2 if label < 2 else 1)
    return videos, labels


def test_learns_the_direction_of_motion():
    generator = torch.Generator().manual_seed(0)
    videos, labels = drifting_noise(192, generator)
    test_videos, test_labels = drifting_noise(96, generator)
    torch.manual_seed(0)
    net = MODELS.build("tiny3d", num_classes=4, width=4)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    for step in range(48):
        batch = slice(step * 32 % 192, step * 32 % 192 + 32)
        loss = torch.nn.functional.cross_entropy(net(videos[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        assert (net(test_videos).argmax(1) == test_labels).float().mean() > 0.9
        backwards = net(test_videos.flip(2)).argmax(1)  # played backwards, left is right and up is down
    assert (backwards == test_labels ^ 1).float().mean() > 0.9


def test_dropout_and_evaluation():
    torch.manual_seed(0)
    net, video = MODELS.build("tiny3d", num_classes=3, width=4, dropout=0.5), torch.randn(2, 3, 4, 32, 32)
    assert not torch.equal(net(video), net(video))
    net.eval()
    assert torch.equal(net(video), net(video))
