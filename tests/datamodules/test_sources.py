import errno
import os
from pathlib import Path

import pytest

from lightframe.datamodules.sources import (
    Video,
    class_names,
    find_unlabelled,
    find_videos,
    label_indices,
    read_lines,
    split_per_class,
)
from lightframe.errors import UsageError


@pytest.fixture
def touch(tmp_path):
    """Makes empty files; where the videos are is found out without opening one."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


@pytest.fixture
def annotation(touch, tmp_path):
    """Writes an annotation file beside a.mp4, b.mp4 and 'two words.mp4'."""
    touch("a.mp4", "b.mp4", "two words.mp4", "with,comma.mp4")

    def write(text, name="list.txt"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write


def summary(videos, base):
    return [(Path(video.path).relative_to(base).as_posix(), *video.labels) for video in videos]


# Class folders


def test_class_folders(touch):
    base = touch(
        "run/2.mp4",
        "run/1.AVI",
        "run/deep/er/3.WebM",
        "jump/x.mkv",
        "jump/notes.txt",
        "jump/.hidden.mp4",
        "jump/.thumbnails/y.mp4",
        ".cache/z.mp4",
        "readme.md",
    )
    assert summary(find_videos(base), base) == [
        ("jump/x.mkv", "jump"),
        ("run/1.AVI", "run"),
        ("run/2.mp4", "run"),
        ("run/deep/er/3.WebM", "run"),
    ]
    assert {video.origin for video in find_videos(str(base))} == {str(base / "jump"), str(base / "run")}


def test_linked_folders_are_followed(touch, tmp_path):
    base = touch("elsewhere/1.mp4", "videos/run/2.mp4")
    (base / "videos" / "jump").symlink_to(base / "elsewhere")
    assert summary(find_videos(base / "videos"), base / "videos") == [("jump/1.mp4", "jump"), ("run/2.mp4", "run")]


def test_several_sources_are_one_split(touch, tmp_path):
    base = touch("one/run/1.mp4", "two/run/1.mp4", "two/jump/1.mp4", "loose.mp4")
    (base / "list.txt").write_text("loose.mp4 jump\n")
    videos = find_videos([base / "one", str(base / "two"), base / "list.txt"])
    assert summary(videos, base) == [
        ("one/run/1.mp4", "run"),
        ("two/jump/1.mp4", "jump"),
        ("two/run/1.mp4", "run"),
        ("loose.mp4", "jump"),
    ]


def test_a_source_that_does_not_exist(touch):
    base = touch("videos/run/1.mp4")
    with pytest.raises(UsageError, match=r"'.*vidoes' does not exist; did you mean 'videos'\?"):
        find_videos(base / "vidoes")
    with pytest.raises(UsageError, match=r"'.*x/y/z' does not exist$"):
        find_videos(base / "x" / "y" / "z")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds neither class folders nor videos; expected .*<class name>/<video file>"),
        (["notes.txt"], "holds neither class folders nor videos"),
        (["1.mp4"], "holds videos but no class folders; expected"),
        (["run/1.mp4", "jump/notes.txt"], r"class folder '.*jump' holds no videos"),
    ],
)
def test_folders_at_fault(touch, files, message):
    with pytest.raises(UsageError, match=message):
        find_videos(touch(*files))


def test_a_video_is_no_split(touch):
    base = touch("1.mp4")
    with pytest.raises(UsageError, match=r"1\.mp4' is neither a folder of class folders nor a .csv or .txt"):
        find_videos(base / "1.mp4")


# Annotation files


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("list.txt", "a.mp4 run\nb.mp4 jump\n", [("a.mp4", "run"), ("b.mp4", "jump")]),
        ("list.txt", "two words.mp4   run\n", [("two words.mp4", "run")]),
        ("list.txt", "a.mp4\trun", [("a.mp4", "run")]),
        ("list.txt", "# a list\n\n  \na.mp4 0\n  # more\nb.mp4 12\n", [("a.mp4", 0), ("b.mp4", 12)]),
        ("list.txt", "a.mp4 run|jump\nb.mp4 2|0\n", [("a.mp4", "run", "jump"), ("b.mp4", 2, 0)]),
        ("list.txt", b"\xef\xbb\xbfa.mp4 run\r\nb.mp4 jump\r\n", [("a.mp4", "run"), ("b.mp4", "jump")]),
        ("list.txt", "a.mp4 r\u00f6nn\n", [("a.mp4", "r\u00f6nn")]),
        ("list.txt", "with,comma.mp4 run\n", [("with,comma.mp4", "run")]),
        ("list.txt", "a.mp4 --5\n", [("a.mp4", "--5")]),  # no number, but a name all right
        ("list.csv", "a.mp4,run\nb.mp4, jump\n", [("a.mp4", "run"), ("b.mp4", "jump")]),
        ("list.CSV", "Path,Label\na.mp4,run\n", [("a.mp4", "run")]),
        ("list.csv", "# made by hand\n\nvideo,label\na.mp4,run\n", [("a.mp4", "run")]),
        ("list.csv", '"with,comma.mp4","high jump"\n', [("with,comma.mp4", "high jump")]),
        ("list.csv", "two words.mp4,1|2\n", [("two words.mp4", 1, 2)]),
        ("list.csv", "a.mp4 0\nb.mp4 1\n", [("a.mp4", 0), ("b.mp4", 1)]),  # the lists of Kinetics in older tools
        ("list.csv", "# path, label\na.mp4 0\n", [("a.mp4", 0)]),
    ],
)
def test_annotation_files(annotation, tmp_path, name, text, expected):
    assert summary(find_videos(annotation(text, name)), tmp_path) == expected


def test_origin_is_file_and_line(annotation):
    file = annotation("# first\na.mp4 run\n\nb.mp4 jump\n")
    assert [video.origin for video in find_videos(file)] == [f"{file}, line 2", f"{file}, line 4"]


def test_relative_paths_refer_to_the_base(annotation, touch, tmp_path):
    touch("base/c.mp4")
    file = annotation(f"c.mp4 run\n{tmp_path / 'a.mp4'} jump\n")
    videos = find_videos(file, base=tmp_path / "base")
    assert summary(videos, tmp_path) == [("base/c.mp4", "run"), ("a.mp4", "jump")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.txt", "a.mp4 run\nb.mp4\n", r"list\.txt, line 2: expected 'path label', got 'b\.mp4'"),
        ("list.csv", "a.mp4,run\n# so\nb.mp4,run,fast\n", r"line 3: expected 'path,label', got 'b\.mp4,run,fast'"),
        ("list.csv", "a.mp4,run\nb.mp4,\n", r"list\.csv, line 2: expected 'path,label'"),
        ("list.csv", "a.mp4,run\n,run\n", r"list\.csv, line 2: expected 'path,label'"),
        ("list.txt", "a.mp4 run||jump\n", r"list\.txt, line 1: an empty label in 'run\|\|jump'"),
        ("list.txt", "a.mp4 |\n", r"list\.txt, line 1: an empty label"),
        ("list.txt", "a.mp4 run\nc.mp4 run\n", r"line 2: no file '.*c\.mp4' \(1 of 2 .*; relative paths refer to"),
        ("list.txt", "# nothing\n\n", r"list\.txt' lists no video"),
        ("list.txt", "", r"list\.txt' lists no video"),
        ("list.txt", b"a.mp4 r\xf6nn\n", r"list\.txt' is not UTF-8 text"),
    ],
)
def test_annotation_files_at_fault(annotation, name, text, message):
    with pytest.raises(UsageError, match=message):
        find_videos(annotation(text, name))


def test_a_wrong_prefix_shows_in_a_long_list(annotation):
    file = annotation("".join(f"wrong/{number}.mp4 run\n" for number in range(2500)))
    with pytest.raises(UsageError, match=r"line 1: no file .* \(1250 of 1250 looked for are missing\)"):
        find_videos(file)


def test_read_lines(tmp_path):
    (tmp_path / "lines.txt").write_bytes("\ufeffone\ntwo\n".encode())
    assert read_lines(tmp_path / "lines.txt", "list") == ["one", "two"]
    with pytest.raises(UsageError, match=r"list '.*' is a folder"):
        read_lines(tmp_path, "list")
    with pytest.raises(UsageError, match=r"list '.*line\.txt' does not exist; did you mean 'lines\.txt'"):
        read_lines(tmp_path / "line.txt", "list")


# Prediction


def test_unlabelled_videos(annotation, touch):
    base = touch("folder/deep/1.mp4", "folder/.2.mp4", "folder/3.txt", "single.xyz")
    videos = find_unlabelled([base / "folder", base / "single.xyz", annotation("two words.mp4 run\n")])
    assert summary(videos, base) == [("folder/deep/1.mp4",), ("single.xyz",), ("two words.mp4",)]


def test_unlabelled_videos_at_fault(touch):
    base = touch("folder/1.txt")
    with pytest.raises(UsageError, match="holds no videos"):
        find_unlabelled(base / "folder")
    with pytest.raises(UsageError, match=r"foldr' does not exist; did you mean 'folder'"):
        find_unlabelled(base / "foldr")


# Classes


def videos_with(*labels):
    return [Video(f"{number}.mp4", label, f"list.txt, line {number}") for number, label in enumerate(labels, 1)]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([("run",), ("jump",), ("run",)], ["jump", "run"]),
        ([("b", "a"), ("c",)], ["a", "b", "c"]),
        ([(3,), (1,)], ["0", "1", "2", "3"]),
        ([(10,), (9,)], [str(number) for number in range(11)]),
        ([(1,), ("run",)], ["1", "run"]),
        ([("0",), ("1",), (0,), (1,)], ["0", "1"]),  # class folders named by numbers, and a list of indices
    ],
)
def test_class_names(labels, expected):
    assert class_names(videos_with(*labels)) == expected


def test_a_negative_label():
    with pytest.raises(UsageError, match=r"list\.txt, line 2: label -1 is out of range; class indices begin at 0"):
        class_names(videos_with((0,), (-1,)))


def test_label_indices():
    videos = videos_with(("run",), (0,), ("jump", "run"), (2,))
    assert label_indices(videos, ["jump", "run", "walk"]) == [(1,), (0,), (0, 1), (2,)]
    assert label_indices(videos_with((7,), ("7",)), ["5", "7"]) == [(1,), (1,)]  # a class of that name comes first


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("jmup", r"list\.txt, line 1: the training split has no class 'jmup'; did you mean 'jump'\?"),
        (2, r"list\.txt, line 1: label 2 is out of range; the 2 classes .* are numbered 0 to 1"),
        (-1, r"list\.txt, line 1: label -1 is out of range"),
    ],
)
def test_labels_that_training_lacks(label, message):
    with pytest.raises(UsageError, match=message):
        label_indices(videos_with((label,)), ["jump", "run"])


@pytest.mark.parametrize(
    ("members", "fraction", "expected"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (10, 0.2, 2), (10, 0.99, 9)]
)
def test_split_per_class(members, fraction, expected):
    videos = videos_with(*[("run",)] * members, *[("jump",)] * 4)
    train, val = split_per_class(videos, fraction, lambda name, count: list(reversed(range(count))))
    assert [video for video in videos if video in train] == train  # the order stays
    assert sorted(train + val) == sorted(videos)
    taken = [video for video in val if video.labels == ("run",)]
    assert taken == videos[members - expected : members]


def test_a_list_to_predict_needs_no_labels(annotation, tmp_path):
    for name, text in (("list.txt", "a.mp4\ntwo words.mp4\nb.mp4 run\n"), ("list.csv", "path\na.mp4\n")):
        paths = [Path(video.path).name for video in find_unlabelled(annotation(text, name))]
        assert paths == (["a.mp4", "two words.mp4", "b.mp4"] if name == "list.txt" else ["a.mp4"])
    with pytest.raises(UsageError, match=r"line 1: no file '.*c\.mp4'"):
        find_unlabelled(annotation("c.mp4\n"))


def test_a_link_that_leads_back_is_not_followed_again(touch):
    base = touch("run/1.mp4")
    (base / "run" / "again").symlink_to(base / "run", target_is_directory=True)
    assert summary(find_videos(base), base) == [("run/1.mp4", "run")]


def test_all_files_of_a_list_are_looked_for_with_one_look_at_each_folder(annotation, monkeypatch, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(2500):
        (folder / f"{number}.mp4").touch()
    (folder / "1234.mp4").unlink()
    asked = []
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: asked.append(path) or is_file(path))
    file = annotation("".join(f"{folder}/{number}.mp4 run\n" for number in range(2500)))
    with pytest.raises(UsageError, match=r"line 1235: no file .*1234\.mp4' \(1 of 2500 looked for are missing\)"):
        find_videos(file)
    assert len(asked) <= 2


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    """Passed over, it would be a class of which videos are missing."""
    (tmp_path / "run" / "deep").mkdir(parents=True)
    (tmp_path / "run" / "0.mp4").touch()
    scandir = os.scandir

    def locked(path):
        if str(path).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(UsageError, match=r"run/deep' cannot be read \(Permission denied\): give yourself the right"):
        find_videos(tmp_path)


def test_indices_may_leave_classes_out_but_not_most(annotation, tmp_path):
    (tmp_path / "a.mp4").touch()
    assert len(class_names(find_videos(annotation(f"{tmp_path}/a.mp4 999\n")))) == 1000
    with pytest.raises(UsageError, match=r"line 1: label 1000 would make 1001 classes of 1 videos"):
        class_names(find_videos(annotation(f"{tmp_path}/a.mp4 1000\n")))


@pytest.mark.parametrize("source", [3, "", ["a", None]])
def test_what_is_no_path(source):
    with pytest.raises(UsageError, match="give a path, or a list of paths, to the videos, not"):
        find_videos(source)
