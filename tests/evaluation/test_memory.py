import pytest

from lightframe import UsageError
from lightframe.evaluation.memory import show_bytes, to_bytes


def test_to_bytes() -> None:
    amounts = {"4 GB": 4 * 10**9, "4GiB": 4 * 2**30, "10 kb": 10_000, "1e3": 1000, 5: 5, 2.5e6: 2_500_000, "7 B": 7}
    assert {amount: to_bytes(amount) for amount in amounts} == amounts


@pytest.mark.parametrize("amount", ["", "GB", "4 parsecs", "-1", 0, -3, "1..2", "nan"])
def test_no_amount(amount: str | int) -> None:
    with pytest.raises(UsageError, match="no amount of memory"):
        to_bytes(amount)


def test_show_bytes() -> None:
    shown = {
        0: "0 B",
        999: "999 B",
        1000: "1.0 kB",
        9_949: "9.9 kB",
        9_951: "10 kB",
        999_499: "999 kB",
        999_500: "1.0 MB",
    }
    assert {count: show_bytes(count) for count in shown} == shown
    assert show_bytes(19_796 * 400 * 4 + 19_796 * 8) == "32 MB"
