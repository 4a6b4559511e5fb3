import pytest
import torch
import torchvision
from torch import nn

from lightframe.errors import UsageError
from lightframe.models import MODELS, SlowFast, Tiny3D
from lightframe.parameters import head_layer, layers, norm_and_bias, parameter_groups


class Tokens(nn.Module):
    """A net with parameters of its own, as vision transformers have them."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 4))
        self.positions = nn.ParameterList([torch.zeros(2, 4)])
        self.embed = nn.Linear(4, 4)
        self.act = nn.ReLU()
        self.blocks = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]))
        self.head = nn.Linear(4, 4, bias=False)


class Adapter(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
        self.second_head = nn.Linear(4, 2)


class Block(nn.Sequential):
    pass


def lr_of(groups):
    return {id(parameter): group["lr"] for group in groups for parameter in group["params"]}


def test_one_group_by_default():
    module = Adapter(Tokens())
    [group] = parameter_groups(module, module.net, lr=0.1, weight_decay=0.1)
    assert set(group) == {"params"}
    assert [id(p) for p in group["params"]] == [id(p) for p in module.parameters()]


def test_only_trainable_and_shared_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net[2].requires_grad_(False)
    [group] = parameter_groups(net)
    assert [id(p) for p in group["params"]] == [id(net[0].weight), id(net[0].bias), id(net[1].bias)]


@pytest.mark.parametrize(("net", "message"), [(nn.Linear(2, 2).requires_grad_(False), "all 2"), (nn.ReLU(), "no par")])
def test_nothing_to_train(net, message):
    with pytest.raises(UsageError, match=f"nothing to train: .*{message}"):
        parameter_groups(net)


def test_norm_and_bias_are_spared():
    net = nn.Sequential(
        nn.Conv3d(1, 2, 1),
        nn.BatchNorm3d(2),
        nn.InstanceNorm2d(2, affine=True),
        nn.GroupNorm(1, 2),
        nn.LayerNorm([2, 3]),
        nn.RMSNorm([2, 3]),
        torchvision.models.convnext.LayerNorm2d(2),
        nn.SyncBatchNorm(2),
        nn.PReLU(),
        nn.Linear(2, 2),
    )
    decayed = {"0.weight", "9.weight"}
    names = {name for name, parameter in net.named_parameters() if parameter not in norm_and_bias(net)}
    assert names == decayed
    decay, spared = parameter_groups(net, weight_decay=0.1, no_decay_norm_bias=True)
    assert [id(p) for p in decay["params"]] == [id(net[0].weight), id(net[9].weight)]
    assert "weight_decay" not in decay
    assert spared["weight_decay"] == 0.0
    assert len(spared["params"]) == len(list(net.parameters())) - 2
    optimizer = torch.optim.SGD([decay, spared], lr=1.0, weight_decay=0.1)
    assert [(g["name"], g["weight_decay"]) for g in optimizer.param_groups] == [("decay", 0.1), ("no_decay", 0.0)]


def test_nothing_to_spare_where_nothing_decays():
    assert len(parameter_groups(nn.Linear(2, 2), weight_decay=0, no_decay_norm_bias=True)) == 1
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), weight_decay=0.1, no_decay_norm_bias=True)) == 1


def test_layer_decay_by_hand():
    net = Tokens()
    module = Adapter(net)
    lrs = lr_of(parameter_groups(module, net, lr=1.0, layer_decay=0.5))
    assert len(lrs) == len(list(module.parameters()))
    layer_lrs = {  # embed, blocks.0, blocks.2.0, blocks.2.1, head: five layers
        net.embed.weight: 1 / 16,
        net.embed.bias: 1 / 16,
        net.token: 1 / 16,
        net.positions[0]: 1 / 16,
        net.blocks[0].weight: 1 / 8,
        net.blocks[2][0].weight: 1 / 4,
        net.blocks[2][1].bias: 1 / 2,
        net.head.weight: 1.0,
        module.second_head.weight: 1.0,
    }
    assert {key: lrs[id(key)] for key in layer_lrs} == layer_lrs


def test_layer_decay_with_both():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    groups = parameter_groups(net, lr=0.2, weight_decay=0.1, no_decay_norm_bias=True, layer_decay=0.5)
    assert [(g["name"], g["lr"], g.get("weight_decay"), len(g["params"])) for g in groups] == [
        ("layer0", 0.1, None, 1),
        ("layer0_no_decay", 0.1, 0.0, 1),
        ("layer1", 0.2, None, 1),
        ("layer1_no_decay", 0.2, 0.0, 1),
    ]


def test_freezing_leaves_other_layers_alone():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    before = lr_of(parameter_groups(net, lr=1.0, layer_decay=0.5))
    net[1].requires_grad_(False)
    after = lr_of(parameter_groups(net, lr=1.0, layer_decay=0.5))
    assert after == {key: lr for key, lr in before.items() if key not in {id(p) for p in net[1].parameters()}}


def test_layers():
    shared = nn.Linear(2, 2)
    net = nn.Sequential(Block(nn.Linear(2, 2), nn.Linear(2, 2)), nn.ReLU(), shared, nn.Sequential(shared))
    assert layers(net) == [net[0], shared]
    assert len(layers(torchvision.models.resnet18(num_classes=2))) == 2 + 8 + 1  # conv1, bn1, blocks, fc


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer_decay": 0.0}, "layer_decay=0.0 must be above 0"),
        ({"layer_decay": 1.5}, "at most 1"),
        ({"layer_decay": "0.5"}, "layer_decay='0.5'"),
        ({"no_decay_norm_bias": "yes"}, "true or false"),
        ({"layer_decay": 0.5, "lr": None}, "give lr"),
        ({"layer_decay": 0.5}, "two layers"),
        ({"head_lr": -1.0}, "head_lr=-1.0 must be a learning rate"),
        ({"head_lr": "0.1"}, "head_lr='0.1'"),
        ({"head_lr": True}, "head_lr=True"),
        ({"head_lr": float("nan")}, "head_lr=nan"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(UsageError, match=message):
        parameter_groups(nn.Linear(2, 2), **{"lr": 0.1, **settings})


def test_layer_decay_of_one_changes_nothing():
    assert len(parameter_groups(nn.Linear(2, 2), lr=0.1, layer_decay=1.0)) == 1


def names_and_rates(groups):
    return [(g["name"], g.get("lr"), g.get("weight_decay"), len(g["params"])) for g in groups]


def test_a_learning_rate_for_the_head():
    net = Tokens()
    module = Adapter(net)
    rest = len(list(module.parameters())) - 1
    assert names_and_rates(parameter_groups(module, net, head_lr=0.5)) == [
        ("body", None, None, rest),
        ("head", 0.5, None, 1),
    ]
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    groups = parameter_groups(net, lr=0.2, weight_decay=0.1, no_decay_norm_bias=True, head_lr=0)
    assert names_and_rates(groups) == [
        ("body", None, None, 1),
        ("body_no_decay", None, 0.0, 1),
        ("head", 0, None, 1),
        ("head_no_decay", 0, 0.0, 1),
    ]


def test_a_learning_rate_for_the_head_beside_layer_decay():
    """The layers before it keep theirs; a second head outside of the net has the net's last."""
    net = Tokens()
    module = Adapter(net)
    with_head = parameter_groups(module, net, lr=1.0, layer_decay=0.5, head_lr=3.0)
    lrs, before = lr_of(with_head), lr_of(parameter_groups(module, net, lr=1.0, layer_decay=0.5))
    assert lrs == {**before, id(net.head.weight): 3.0}
    assert lrs[id(module.second_head.weight)] == 1.0
    assert [g["name"] for g in with_head] == ["layer0", "layer1", "layer2", "layer3", "head", "layer4"]


def test_a_head_that_is_frozen_has_no_learning_rate():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].requires_grad_(False)
    with pytest.raises(UsageError, match=r"head_lr=0\.1: the head of the net is frozen"):
        parameter_groups(net, head_lr=0.1)
    with pytest.raises(UsageError, match="a PReLU has no last layer that could be told"):
        parameter_groups(nn.PReLU(), head_lr=0.1)


def test_heads():
    slowfast, tiny = SlowFast((1, 1, 1, 1)), Tiny3D(3)
    assert list(head_layer(slowfast)) == [slowfast.head]
    assert head_layer(torch.compile(tiny, backend="eager")) is tiny.head
    for name, head in (("r3d_18", "fc"), ("s3d", "classifier.1"), ("mvit_v2_s", "head"), ("swin3d_t", "head")):
        with torch.device("meta"):
            net = torchvision.models.get_model(name)
        assert head_layer(net) is net.get_submodule(head)
    for name, head in (("fcos_resnet50_fpn", "head"), ("fasterrcnn_resnet50_fpn", "roi_heads")):
        with torch.device("meta"):
            net = MODELS.build(name)
        assert head_layer(net) is net.detector.get_submodule(head)
