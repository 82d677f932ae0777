from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from components.errors import LapidarError
from components.inference.answering import Answer, Answers, Progress
from components.inference.client import ServerDown
from components.inference.reading import Event, Reply, Text, Token, Use


class Told:
    """Says what it is told to, piece by piece."""

    def __init__(self, *events: Event | Exception) -> None:
        self.events, self.go, self.stopped = events, threading.Semaphore(0), threading.Event()

    def __iter__(self) -> Iterator[Event]:
        for event in self.events:
            self.go.acquire()
            if self.stopped.is_set():
                yield Reply(0, "", "stopped")
                return
            if isinstance(event, Exception):
                raise event
            yield event

    def say(self, count: int) -> None:
        self.go.release(count)

    def stop(self) -> None:
        self.stopped.set()
        self.go.release()


def seen(answer: Answer, text: str) -> Progress:
    for _ in range(2000):
        if answer.look().texts[0] == text:
            return answer.look()
        answer.wait(0.005)
    raise AssertionError(answer.look())


def test_it_goes_on_by_itself_and_hands_over_what_it_ended_with() -> None:
    token, kept = Token(0, "a", -1.0), []
    told = Told(Text(0, "a"), token, Text(0, "b"), Use(3, 2), Reply(0, "ab", "stop", (token,)))
    answer = Answer(told, kept.append)
    told.say(2)
    now = seen(answer, "a")
    assert not now.done
    assert now.finish == ""
    assert kept == []
    told.say(3)
    assert answer.wait(5)
    last = answer.look()
    assert (last.texts, last.tokens, last.finish, last.use, last.done) == (("ab",), ((token,),), "stop", Use(3, 2), True)
    assert [progress.texts for progress in kept] == [("ab",)]
    assert last.rate is not None
    assert last.rate > 0


def test_an_answer_that_arrives_all_at_once_is_as_fast_as_the_server_says() -> None:
    use = Use(3, 11, queued=0.1, first_token=0.5, total=2.5)
    told = Told(Text(0, "a"), Text(0, "b"), use, Reply(0, "ab", "stop"))
    answer = Answer(told)
    told.say(4)
    assert answer.wait(5)
    assert answer.look().rate == use.rate == pytest.approx(5.0)
    assert Use(3, 1, first_token=0.5, total=2.5).rate is None


def test_what_came_before_a_fault_is_kept_with_one_sentence() -> None:
    kept: list[Progress] = []
    told = Told(Text(0, "a"), ServerDown("it ended", "start it"))
    answer = Answer(told, kept.append)
    told.say(2)
    assert answer.wait(5)
    assert (answer.look().texts, answer.look().finish) == (("a",), "error")
    assert str(kept[0].error) == "it ended; start it"


def test_a_fault_of_ours_is_told_as_well(caplog: pytest.LogCaptureFixture) -> None:
    told = Told(ZeroDivisionError("oops"))
    answer = Answer(told)
    told.say(1)
    assert answer.wait(5)
    assert "ZeroDivisionError: oops" in str(answer.look().error)
    assert "an answer failed" in caplog.text


def test_an_answer_that_cannot_be_kept_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Progress) -> None:
        raise LapidarError("the database is full")

    told = Told(Text(0, "a"), Reply(0, "a", "stop"))
    answer = Answer(told, refuse)
    told.say(2)
    assert answer.wait(5)
    assert "couldn't be saved (the database is full)" in str(answer.look().error)
    assert answer.look().texts == ("a",)


def test_stopping_ends_it_with_what_there_is() -> None:
    told = Told(Text(0, "a"), Text(0, "b"))
    answer = Answer(told)
    told.say(1)
    seen(answer, "a")
    answer.stop()
    assert answer.wait(5)
    assert (answer.look().texts, answer.look().finish) == (("a",), "stopped")


def test_samples_are_kept_apart() -> None:
    told = Told(Text(1, "x"), Text(0, "a"), Text(1, "y"), Reply(0, "a", "stop"), Reply(1, "xy", "stop"))
    answer = Answer(told, samples=2)
    told.say(5)
    assert answer.wait(5)
    assert answer.look().texts == ("a", "xy")


def test_a_name_has_one_running_answer_and_two_names_never_share_one() -> None:
    answers = Answers()
    first, other = Told(Text(0, "a")), Told(Text(0, "b"))
    mine = answers.start("one", lambda: Answer(first))
    assert answers.start("one", lambda: Answer(other)) is mine
    assert answers.get("one") is mine
    assert answers.get("two") is None
    first.say(1)
    assert mine.wait(5)
    again = answers.start("one", lambda: Answer(other))
    assert again is not mine
    other.say(1)
    assert again.wait(5)
    assert again.look().texts == ("b",)
    answers.drop("one")
    assert answers.get("one") is None
