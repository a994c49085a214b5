"""The recorder beside a core: segments, gaps, a broken disk, a core that raises; nothing silent."""

from __future__ import annotations

import pytest

from routing.core import CoreConfig
from routing.identity import Identity, IdentitySigner
from routing.inputs import BootstrapRequested, ContactsLearnt, Input, Listening, StopRequested
from routing.limits import SECOND, Nanos
from routing.recordings import Beginning, Deadline, Drawn, End, Fact, Gap, Signed
from tests.recording import RecordedCore, replayed

__all__: list[str] = []

SEED, SECRET = b"never in a file, this private key"[:32], b"nor what the dice are made of...."[:32]


def recorded() -> RecordedCore:
    signer = IdentitySigner(Identity.from_seed(SEED))
    core = RecordedCore(CoreConfig(signer=signer, secret=SECRET, tag=bytes(8), first=True))
    run(core, Listening(["10.0.0.1:5483"]), BootstrapRequested())
    return core


def run(core: RecordedCore, *facts: Input) -> None:
    for fact in facts:
        core.handle(fact, Nanos(core.now + SECOND))
        core.take_actions()


def wait(core: RecordedCore, times: int) -> None:
    for _ in range(times):
        due = core.next_deadline()
        assert due is not None
        core.on_deadline(Nanos(due + 2 * SECOND))
        core.take_actions()


def kinds(core: RecordedCore) -> list[type]:
    return [type(record) for record in core.tape.records()]


def test_first_record_is_where_a_replay_begins_and_the_last_is_the_end() -> None:
    core = recorded()
    wait(core, 5)
    run(core, StopRequested())
    core.recorder.finish()
    found = kinds(core)
    assert found[0] is Beginning
    assert found[-1] is End
    assert found.count(Beginning) == found.count(End) == 1
    assert Fact in found
    assert Drawn in found
    assert Deadline in found
    replay = replayed(core)
    assert replay.ended
    assert replay.equal >= 1


def test_end_is_told_once_and_nothing_follows_it() -> None:
    core = recorded()
    core.recorder.finish()
    before = core.tape.written
    core.recorder.finish()
    wait(core, 5)
    assert core.tape.written == before


def test_full_segment_is_followed_by_one_that_stands_alone() -> None:
    core = recorded()
    many = [ContactsLearnt([f"10.{n}.{m}.1:5000" for m in range(200)]) for n in range(60)]
    run(core, *many)
    core.recorder.finish()
    segments = core.tape.segments
    assert len(segments) > 2
    for number in range(len(segments)):
        first = core.tape.records(number)[0]
        assert isinstance(first, Beginning)
        assert first.serial == number
        assert sum(map(len, segments[number])) < core.segment_bytes * 3
        assert replayed(core, number).equal >= 1
    assert core.recorder.stats()["recorder.rotated"] == len(segments) - 1


def test_steps_for_which_there_was_no_room_are_told_as_a_gap() -> None:
    core = recorded()
    core.tape.has_room = False
    wait(core, 8)
    core.tape.has_room = True
    wait(core, 3)
    core.recorder.finish()
    gaps = [record for record in core.tape.records() if isinstance(record, Gap)]
    assert len(gaps) == 1
    stats = core.recorder.stats()
    assert gaps[0].steps == stats["recorder.lost"] >= 8
    assert stats["recorder.gaps"] == 1
    replay = replayed(core)
    assert replay.gaps == gaps
    assert len(replay.beginnings) == 2
    assert replay.ended


def test_gap_at_the_very_end_is_told_too() -> None:
    core = recorded()
    core.tape.has_room = False
    wait(core, 4)
    core.tape.has_room = True
    core.recorder.finish()
    assert replayed(core).gaps
    assert kinds(core)[-1] is End


def test_broken_disk_ends_the_recording_and_not_the_node(caplog: pytest.LogCaptureFixture) -> None:
    core = recorded()
    core.tape.fault = "No space left on device"
    before = core.tape.written
    wait(core, 30)
    core.recorder.finish()
    assert core.tape.written == before
    assert core.recorder.stats()["recorder.failed"] == 1
    assert caplog.messages == ["recording ends: No space left on device"]


def test_fact_that_a_core_cannot_bear_is_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    core = recorded()

    def fail() -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(core.bootstrapping, "begin", fail)
    with pytest.raises(AssertionError, match="a bug"):
        core.handle(BootstrapRequested(), Nanos(core.now + 1))
    facts = [record.fact for record in core.tape.records() if isinstance(record, Fact)]
    assert facts[-1] == BootstrapRequested()


def test_secrets_are_not_in_a_recording() -> None:
    core = recorded()
    filter_secret = core.filter_secret
    wait(core, 10)
    run(core, StopRequested())
    core.recorder.finish()
    content = b"".join(block for blocks in core.tape.segments for block in blocks)
    assert len(content) > 1_000
    assert core.key in content, "what is searched for would be found"
    for secret in (SEED, SECRET, filter_secret):
        assert secret not in content
        assert secret[:16] not in content


def test_signatures_are_in_the_recording_that_a_replay_needs() -> None:
    core = recorded()
    text = b"text"
    signature = core.signer.sign(text)
    core.recorder.finish()
    assert Signed(signature) in core.tape.records()
    assert core.signer.verify(core.key, text, signature)
    assert core.signer.key == core.key
