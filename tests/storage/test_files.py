import errno
import os
import stat

import pytest

from ifvit.storage import files
from ifvit.storage.files import WriteError, obstacle, write_whole


def full(file):
    """Half of the content, then a full disk."""
    file.write(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_and_its_folder_are_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_whole(path, lambda file: file.write(b"content"))
    assert path.read_bytes() == b"content" and os.listdir(path.parent) == ["a.txt"]


def test_a_full_disk_leaves_the_earlier_file_and_is_told_with_the_name(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"before")
    with pytest.raises(WriteError) as caught:
        write_whole(path, full)
    assert str(caught.value) == (
        f"{path}: not written (No space left on device); make room or rights there, or name another place"
    )
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["a.txt"]


def test_a_disk_that_is_full_when_it_is_forced_there_counts_too(tmp_path, monkeypatch):
    def fsync(_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(WriteError, match="a.txt: not written"):
        write_whole(tmp_path / "a.txt", lambda file: file.write(b"content"))
    assert os.listdir(tmp_path) == []


def test_what_stops_the_writer_leaves_nothing(tmp_path):
    def stopped(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", stopped)
    assert os.listdir(tmp_path) == []


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "a.txt"
    link.symlink_to(tmp_path / "real" / "b.txt")
    for content in (b"one", b"two"):  # first the file is made, then replaced
        write_whole(link, lambda file, content=content: file.write(content))
        assert link.is_symlink() and (tmp_path / "real" / "b.txt").read_bytes() == content
    assert os.listdir(tmp_path / "real") == ["b.txt"]


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, lambda file: file.write(b"content"))
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


def test_what_stands_in_the_way_is_seen_beforehand(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    assert obstacle(tmp_path / "file") is None and obstacle(tmp_path / "new" / "er" / "a.txt") is None
    assert obstacle(tmp_path) == f"{tmp_path} is a folder; name a file"
    below = tmp_path / "file" / "below" / "a.txt"
    assert obstacle(below) == f"{below}: {tmp_path / 'file'} is a file, not a folder; name another place"
    # Root may write anywhere but on a read-only file system, where `os.access` says no.
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    path = tmp_path / "new" / "a.txt"
    assert obstacle(path) == f"{path}: the folder {tmp_path} cannot be written; name another place"
