import pytest
from torch import nn

from lightframe.errors import UsageError
from lightframe.load_errors import missing_objects_named, other_net_refused


def test_other_weights():
    """In the words with which torch begins."""
    refused = pytest.raises(UsageError, match=r"another net than this Linear \(size mismatch for weight: .*\): give")
    with refused, other_net_refused("Linear"):
        nn.Linear(2, 3).load_state_dict(nn.Linear(2, 4).state_dict())
    with pytest.raises(RuntimeError, match=r"^else$"), other_net_refused("Linear"):
        raise RuntimeError("else")


def test_missing_objects():
    def build(net, loss="ce"):
        return net

    holds = {"lightframe": {"objects": {"net": "my.Net", "loss": "my.Loss"}}}
    refused = pytest.raises(UsageError, match=r"given net as an object of my\.Net; give it .*\(path, net=\.\.\.\)$")
    with refused, missing_objects_named(lambda: holds):
        build()
    with pytest.raises(TypeError, match="missing 1 required"), missing_objects_named(dict):
        build()
    with pytest.raises(TypeError, match="unexpected"), missing_objects_named(lambda: holds):
        build(ntt=1)
