import pytest
import torch

from lightframe.errors import UsageError
from lightframe.first_loss import check_first_loss

NAN, ONES = torch.tensor([1.0, torch.nan]), torch.ones(2)


@pytest.mark.parametrize(
    ("batch", "outputs", "cause"),
    [
        ((NAN, torch.tensor([0, 1])), NAN, "the batch holds"),
        ({"x": [ONES, NAN]}, None, "the batch holds"),
        ((ONES, torch.tensor([0, 1])), NAN, "the net makes"),
        ((ONES, "a name"), ONES, "look at the loss"),
        ((ONES,), None, "look at the loss"),
    ],
)
def test_where_it_begins(batch, outputs, cause):
    for loss in (torch.nan, torch.inf):
        with pytest.raises(UsageError, match=f"the first loss is {loss}: .*{cause}"):
            check_first_loss(torch.tensor(loss), batch, outputs)
    check_first_loss(torch.tensor(2.0), batch, outputs)
