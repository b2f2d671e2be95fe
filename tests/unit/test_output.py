"""What a call prints, and when it is sent."""

import pytest

from shared.calls import output


@pytest.fixture
def sent(monkeypatch):
    monkeypatch.setattr(output, "PAUSE_S", 0.0)
    return []


def test_whole_lines_are_sent_at_once(sent):
    captured = output.Captured(sent.append)

    captured.write("out", "one\ntwo\nthr")

    assert sent == [[("out", "one\ntwo\n")]]


@pytest.mark.parametrize("text", ["50 %", "\r50 %", "half a line\r"])
@pytest.mark.parametrize("stream", output.STREAMS)
def test_a_part_of_a_line_is_sent_when_it_is_flushed(sent, stream, text):
    captured = output.Captured(sent.append)
    captured.write(stream, text)
    before = list(sent)

    captured.flush(stream)

    assert (before, sent) == ([], [[(stream, text)]])


def test_behind_a_name_only_whole_lines_are_sent(sent):
    captured = output.Captured(sent.append, whole_lines=True)
    captured.write("out", "50 %")

    captured.flush("out")

    assert sent == []
    assert captured.take() == [("out", "50 %")]


def test_what_was_flushed_is_not_sent_again(sent):
    captured = output.Captured(sent.append)
    captured.write("out", "50 %")
    captured.flush("out")
    captured.flush("out")
    captured.write("out", " 60 %\n")

    assert [text for ((_, text),) in sent] == ["50 %", " 60 %\n"]
    assert captured.take() == []
