from pathlib import Path

import pytest
import torch

from lightframe.datamodules.splits import Splits
from lightframe.errors import UsageError


def splits(root=None, val_fraction=0.0, classes=None, seed=0, **given):
    return Splits(root, given, val_fraction, classes, seed)


def names(videos):
    return {f"{Path(video.path).parent.name}/{Path(video.path).stem}" for video in videos}


# Which videos


def test_the_splits_of_a_root(make_folders):
    found = splits(make_folders(train={"jump": 2, "run": 1}, val={"run": 1}))
    assert [found.has(split) for split in ("train", "val", "test", "predict")] == [True, True, False, False]
    assert names(found.videos("train")) == {"jump/0", "jump/1", "run/0"}
    assert names(found.videos("val")) == {"run/0"}


def test_roots_are_merged_split_by_split(make_folders):
    roots = [make_folders("one", train={"jump": 1}), make_folders("two", train={"run": 2}, val={"jump": 1})]
    found = splits(roots)
    assert found.classes == ["jump", "run"]
    assert len(found.videos("train")) == 3
    assert found.labels("val").tolist() == [0]


def test_a_source_of_its_own_wins(make_folders):
    root, other = make_folders(train={"jump": 1}), make_folders("other", all={"jump": 3})
    assert len(splits(root, train=other / "all").videos("train")) == 3


def test_annotation_files_refer_to_the_root(make_folders, tmp_path):
    root = make_folders(train={"jump": 2})
    (tmp_path / "list.txt").write_text("train/jump/1.mkv jump\n")
    assert names(splits(root, val=tmp_path / "list.txt").videos("val")) == {"jump/1"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "there is no train split: give root, or train"),
        ({"root": "videos"}, r"no train split: '.*videos/train' does not exist, and train was not given$"),
        ({"root": "vidoes"}, r"root '.*vidoes' does not exist; did you mean 'videos'\?"),
    ],
)
def test_no_training_split(make_folders, tmp_path, monkeypatch, given, message):
    make_folders(val={"jump": 1})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        splits(**given).videos("train")


def test_class_folders_in_the_root_itself(make_folders):
    root = make_folders(train={"jump": 1}) / "train"
    for ask in (lambda: splits(root).videos("train"), lambda: splits(root).classes):
        with pytest.raises(UsageError, match=r"if the class folders stand in '.*train' itself, give it as train"):
            ask()


# One class list


def test_the_class_list_is_the_training_split_s(make_folders):
    root = make_folders(train={"run": 1, "jump": 1, "walk": 1}, val={"run": 1}, test={"walk": 1, "jump": 1})
    found = splits(root)
    assert found.labels("val").tolist() == [1]
    assert found.labels("test").tolist() == [0, 2]
    assert found.labels("train").tolist() == [0, 1, 2]
    assert found.classes == ["jump", "run", "walk"]


def test_a_class_that_training_lacks(make_folders):
    found = splits(make_folders(train={"run": 1, "jump": 1}, val={"runn": 1}))
    with pytest.raises(UsageError, match=r"val/runn: the training split has no class 'runn'; did you mean 'run'\?"):
        found.labels("val")


def test_given_classes_keep_their_order(make_folders):
    root = make_folders(train={"jump": 1, "run": 1})
    assert splits(root, classes=["walk", "run", "jump"]).labels("train").tolist() == [2, 1]


def test_no_class_list(make_folders):
    found = splits(make_folders(test={"run": 1}))
    assert not found.knows_classes
    with pytest.raises(UsageError, match="give root or train, or classes, or a checkpoint"):
        found.labels("test")
    found.restore_classes(["jump", "run"])
    assert found.labels("test").tolist() == [1]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["jump", "run", "walk"], "other classes than the data has: only the checkpoint has 'walk'$"),
        (["jump"], "only the data has 'run'$"),
        (["jump", "walk"], "only the checkpoint has 'walk', only the data has 'run'$"),
        (["run", "jump"], "the same names in another order"),
    ],
)
def test_classes_of_another_checkpoint(make_folders, classes, message):
    found = splits(make_folders(train={"jump": 1, "run": 1}))
    found.restore_classes(["jump", "run"])
    with pytest.raises(UsageError, match=message):
        found.restore_classes(classes)


# Labels


def test_several_labels_make_multi_hot_ones(make_folders, tmp_path):
    root = make_folders(train={"jump": 2}, test={"run": 1})
    (tmp_path / "list.txt").write_text("train/jump/0.mkv jump|walk\ntrain/jump/1.mkv run\n")
    found = splits(root, train=tmp_path / "list.txt")
    assert found.classes == ["jump", "run", "walk"]
    assert torch.equal(found.labels("train"), torch.tensor([[1.0, 0, 1], [0, 1, 0]]))
    # One form for all splits, also where each video has one label.
    assert torch.equal(found.labels("test"), torch.tensor([[0.0, 1, 0]]))


def test_prediction_has_no_labels(make_folders):
    found = splits(predict=make_folders(any={"jump": 2, "run": 1}))
    assert found.labels("predict").tolist() == [-1, -1, -1]


# A validation split from the training videos


def test_val_fraction(make_folders):
    root = make_folders(train={"jump": 10, "run": 5, "walk": 2, "sit": 1})
    found = splits(root, val_fraction=0.2)
    train, val = names(found.videos("train")), names(found.videos("val"))
    assert found.has("val")
    assert train.isdisjoint(val)
    assert len(train | val) == 18
    taken = [sum(name.startswith(kind) for name in val) for kind in ("jump", "run", "walk", "sit")]
    assert taken == [2, 1, 1, 0]
    assert found.classes == ["jump", "run", "sit", "walk"]


def test_val_fraction_takes_the_same_videos_every_time(make_folders):
    root = make_folders(train={"jump": 20, "walk": 20})
    first = names(splits(root, val_fraction=0.3).videos("val"))
    found = splits(root, val_fraction=0.3)
    found.videos("train")  # whichever split is asked for first
    assert names(found.videos("val")) == first
    assert names(splits(root, val_fraction=0.3, seed=1).videos("val")) != first
    numbers = [{name.split("/")[1] for name in first if name.startswith(kind)} for kind in ("jump", "walk")]
    assert numbers[0] != numbers[1]  # each class is shuffled by itself


def test_val_fraction_of_a_class_does_not_depend_on_the_others(make_folders):
    root = make_folders(train={"jump": 20, "run": 20})
    before = names(splits(root, val_fraction=0.3).videos("val"))
    make_folders(train={"crawl": 7})
    after = names(splits(root, val_fraction=0.3).videos("val"))
    assert {name for name in after if not name.startswith("crawl")} == before
    assert sum(name.startswith("crawl") for name in after) == 2


def test_val_fraction_beside_a_validation_split(make_folders):
    found = splits(make_folders(train={"jump": 4}, val={"jump": 1}), val_fraction=0.5)
    with pytest.raises(UsageError, match="there is one already: leave val_fraction out"):
        found.videos("train")


def test_val_fraction_that_takes_nothing(make_folders):
    found = splits(make_folders(train={"jump": 1, "run": 1}), val_fraction=0.5)
    with pytest.raises(UsageError, match="takes no video: every class has but one"):
        found.videos("val")


def test_val_fraction_where_nothing_is_trained(make_folders):
    """A test split by itself, with the classes of a checkpoint."""
    found = splits(make_folders(test={"jump": 1}), val_fraction=0.5, classes=["jump"])
    assert not found.has("val")
    assert found.labels("test").tolist() == [0]


# Where an index of `lightframe scan` is looked for


def test_folders(make_folders, tmp_path):
    root = make_folders(train={"jump": 4}, test={"jump": 1})
    found = splits(root, val_fraction=0.25, predict=root / "test" / "jump" / "0.mkv")
    assert found.folders("train") == [root / "train"]
    assert found.folders("val") == [root / "train"]  # from which its videos are taken
    assert found.folders("test") == [root / "test"]
    (tmp_path / "list.txt").write_text("train/jump/1.mkv jump\n")
    assert splits(root, val=tmp_path / "list.txt").folders("val") == [root]
    alone = splits(val=tmp_path / "list.txt", predict=[root / "test", root / "test" / "jump" / "0.mkv"])
    assert alone.folders("val") == [tmp_path]
    assert alone.folders("predict") == [root / "test", root / "test" / "jump"]
    with pytest.raises(UsageError, match="there is no val split"):
        splits(root).folders("val")
