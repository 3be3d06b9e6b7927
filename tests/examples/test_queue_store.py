"""The embedded queue itself: files, messages, leases, tokens."""

import asyncio
import dataclasses
import sqlite3
import stat

import pytest

from examples.queue_broker.queue_file import (
    LeaseLost,
    NotAuthorized,
    QueueFull,
    QueueMissing,
    QueueSettings,
    Role,
    RoleMissing,
    StoreUnavailable,
    TooManyStored,
)
from examples.queue_broker.queue_store import QueueStore

from .conftest import BINDING, QUEUE, SMALL, TOKEN

OTHER = "osb-cccccccccccccccccccc"


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / "queues").iterdir())


async def until_waiting(store, receivers=1):
    """Pass when so many receivers wait for a change."""
    async with asyncio.timeout(30):
        while store.waiting < receivers:  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0)


async def test_message_is_received_and_acknowledged_once(store, queue):
    sent = await store.send(queue, TOKEN, b'{"n": 1}')

    message = await store.receive(queue, TOKEN)
    assert (message.id, message.body, message.receive_count) == (sent, b'{"n": 1}', 1)
    await store.acknowledge(queue, TOKEN, message.id, message.receipt)
    assert await store.receive(queue, TOKEN) is None
    assert (await store.state(queue)).stored == 0


async def test_messages_come_in_the_order_they_were_sent(store, queue):
    sent = [await store.send(queue, TOKEN, b"%d" % number) for number in range(3)]

    assert [(await store.receive(queue, TOKEN)).id for _ in sent] == sent


async def test_leased_message_is_hidden_until_its_lease_runs_out(store, queue, clock):
    await store.send(queue, TOKEN, b"1")
    first = await store.receive(queue, TOKEN, lease=10)
    clock.now += 9.9
    assert await store.receive(queue, TOKEN) is None

    clock.now += 0.2
    again = await store.receive(queue, TOKEN)

    assert (again.id, again.receive_count) == (first.id, 2)
    with pytest.raises(LeaseLost):
        await store.acknowledge(queue, TOKEN, first.id, first.receipt)
    await store.acknowledge(queue, TOKEN, again.id, again.receipt)


async def test_receipt_is_worthless_after_the_lease_even_if_nobody_else_received(
    store, queue, clock
):
    await store.send(queue, TOKEN, b"1")
    message = await store.receive(queue, TOKEN, lease=10)
    clock.now += 10

    with pytest.raises(LeaseLost):
        await store.acknowledge(queue, TOKEN, message.id, message.receipt)


async def test_lease_of_the_queue_counts_where_the_receiver_says_none(
    store, queue, clock
):
    await store.send(queue, TOKEN, b"1")
    await store.receive(queue, TOKEN)

    clock.now += SMALL.lease_seconds - 0.1
    assert await store.receive(queue, TOKEN) is None
    clock.now += 0.2
    assert await store.receive(queue, TOKEN) is not None


async def test_delayed_message_waits(store, queue, clock):
    await store.send(queue, TOKEN, b"1", delay=60)
    assert await store.receive(queue, TOKEN) is None

    clock.now += 60

    assert (await store.receive(queue, TOKEN)).body == b"1"


async def test_message_that_nobody_acknowledges_becomes_a_dead_letter(
    store, queue, clock
):
    sent = await store.send(queue, TOKEN, b'"poison"')
    for _ in range(SMALL.max_receives):
        assert await store.receive(queue, TOKEN, lease=1) is not None
        clock.now += 1

    assert await store.receive(queue, TOKEN) is None
    [dead] = await store.dead_letters(queue, TOKEN, limit=10)
    assert (dead.id, dead.body, dead.receive_count) == (sent, b'"poison"', 2)
    assert (await store.state(queue)).stored == 1
    await store.delete_dead_letter(queue, TOKEN, sent)
    await store.delete_dead_letter(queue, TOKEN, sent)
    assert (await store.state(queue)).stored == 0


async def test_message_is_dropped_where_no_dead_letters_are_kept(store, queue, clock):
    await store.converge(queue, dataclasses.replace(SMALL, dead_letter=False))
    await store.send(queue, TOKEN, b"1")
    for _ in range(SMALL.max_receives):
        await store.receive(queue, TOKEN, lease=1)
        clock.now += 1

    assert await store.receive(queue, TOKEN) is None
    assert await store.dead_letters(queue, TOKEN, limit=10) == []
    assert (await store.state(queue)).stored == 0


async def test_a_hundred_dead_messages_do_not_hide_the_live_one(store, queue, clock):
    count = 150
    await store.converge(
        queue, QueueSettings(max_messages=500, max_bytes=10**7, max_receives=1)
    )
    for _ in range(count):
        await store.send(queue, TOKEN, b"0")
    for _ in range(count):
        assert await store.receive(queue, TOKEN, lease=1) is not None
    clock.now += 1
    await store.send(queue, TOKEN, b'"alive"')

    message = await store.receive(queue, TOKEN, wait=20)

    assert message.body == b'"alive"'


async def test_queue_takes_no_more_messages_than_its_plan(store, queue):
    for _ in range(SMALL.max_messages):
        await store.send(queue, TOKEN, b"1")

    with pytest.raises(QueueFull):
        await store.send(queue, TOKEN, b"1")
    message = await store.receive(queue, TOKEN)
    with pytest.raises(QueueFull):  # a leased message is a stored one
        await store.send(queue, TOKEN, b"1")
    await store.acknowledge(queue, TOKEN, message.id, message.receipt)
    await store.send(queue, TOKEN, b"1")


async def test_queue_takes_no_more_bytes_than_its_plan_and_frees_them(store, queue):
    await store.converge(queue, QueueSettings(max_messages=100, max_bytes=300_000))
    await store.send(queue, TOKEN, b"1" * 200_000)

    with pytest.raises(QueueFull):
        await store.send(queue, TOKEN, b"1" * 200_000)
    message = await store.receive(queue, TOKEN)
    await store.acknowledge(queue, TOKEN, message.id, message.receipt)
    await store.send(queue, TOKEN, b"1" * 200_000)


async def test_limits_below_what_is_stored_are_refused_and_change_nothing(store, queue):
    for _ in range(3):
        await store.send(queue, TOKEN, b"1")

    with pytest.raises(TooManyStored, match="3 messages"):
        await store.converge(
            queue, QueueSettings(max_messages=2, max_bytes=1, max_receives=9)
        )
    assert (await store.state(queue)).settings == SMALL


async def test_converging_twice_keeps_messages_and_tokens(store, queue):
    await store.send(queue, TOKEN, b"1")

    await store.converge(queue, dataclasses.replace(SMALL, max_receives=7))
    await store.converge(queue, dataclasses.replace(SMALL, max_receives=7))

    assert (await store.state(queue)).settings.max_receives == 7
    assert (await store.receive(queue, TOKEN)).body == b"1"


@pytest.mark.parametrize(
    ("role", "sends", "receives"),
    [
        (Role.READWRITE, True, True),
        (Role.PRODUCER, True, False),
        (Role.CONSUMER, False, True),
    ],
)
async def test_role_says_what_a_token_may_do(store, queue, role, sends, receives):
    await store.grant(queue, "osb-role", "R" * 32, role)

    async def allowed(call):
        try:
            await call
        except RoleMissing:
            return False
        return True

    token = "R" * 32
    assert await allowed(store.send(queue, token, b"1")) is sends
    assert await allowed(store.receive(queue, token)) is receives
    assert await allowed(store.dead_letters(queue, token, limit=1)) is receives
    assert await allowed(store.delete_dead_letter(queue, token, 1)) is receives
    try:
        assert await allowed(store.acknowledge(queue, token, 1, "x")) is receives
    except LeaseLost:
        assert receives


async def test_unknown_token_and_unknown_queue_are_refused_alike(store, queue):
    with pytest.raises(NotAuthorized) as wrong_token:
        await store.send(queue, "wrong", b"1")
    with pytest.raises(NotAuthorized) as wrong_queue:
        await store.send(OTHER, TOKEN, b"1")
    with pytest.raises(NotAuthorized):
        await store.send("../" + queue, TOKEN, b"1")

    assert str(wrong_token.value) == str(wrong_queue.value)


async def test_token_of_a_neighbour_is_refused(store, queue):
    await store.converge(OTHER, SMALL)
    await store.grant(OTHER, "osb-neighbour", "N" * 32, Role.READWRITE)

    with pytest.raises(NotAuthorized):
        await store.receive(queue, "N" * 32)


async def test_only_the_hash_of_a_token_is_on_the_disk(store, queue, tmp_path):
    await store.send(queue, TOKEN, b"1")
    await store.close()

    assert TOKEN.encode() not in (tmp_path / "queues" / f"{QUEUE}.db").read_bytes()


async def test_granting_again_with_another_token_lets_the_first_in_no_more(
    store, queue
):
    await store.grant(queue, BINDING, TOKEN, Role.READWRITE)
    await store.send(queue, TOKEN, b"1")

    await store.grant(queue, BINDING, "S" * 32, Role.READWRITE)

    with pytest.raises(NotAuthorized):
        await store.send(queue, TOKEN, b"1")
    await store.send(queue, "S" * 32, b"1")


async def test_revoked_token_is_out_and_the_messages_stay(store, queue):
    await store.send(queue, TOKEN, b"1")
    await store.grant(queue, "osb-second", "S" * 32, Role.CONSUMER)

    await store.revoke(queue, BINDING)
    await store.revoke(queue, BINDING)

    with pytest.raises(NotAuthorized):
        await store.send(queue, TOKEN, b"1")
    assert (await store.receive(queue, "S" * 32)).body == b"1"


async def test_waiting_receiver_gets_what_is_sent(store, queue):
    waiting = asyncio.create_task(store.receive(queue, TOKEN, wait=600))
    await until_waiting(store)

    await store.send(queue, TOKEN, b"1")

    assert (await waiting).body == b"1"


async def test_two_waiting_receivers_share_nothing(store, queue):
    waiting = [
        asyncio.create_task(store.receive(queue, TOKEN, wait=600)) for _ in range(2)
    ]
    await until_waiting(store, 2)

    sent = {await store.send(queue, TOKEN, b"1") for _ in range(2)}

    assert {message.id for message in await asyncio.gather(*waiting)} == sent


async def test_receiver_goes_home_when_its_wait_is_over(store, queue):
    assert await store.receive(queue, TOKEN, wait=0.01) is None


async def test_waiting_receiver_gets_a_message_whose_time_has_come(store, queue, clock):
    await store.send(queue, TOKEN, b"1", delay=0.02)
    waiting = asyncio.create_task(store.receive(queue, TOKEN, wait=600))
    await until_waiting(store)

    clock.now += 0.02

    assert (await waiting).body == b"1"


async def test_revoking_sends_the_waiting_receiver_away(store, queue):
    await store.grant(queue, "osb-second", "S" * 32, Role.CONSUMER)
    cut = asyncio.create_task(store.receive(queue, TOKEN, wait=600))
    kept = asyncio.create_task(store.receive(queue, "S" * 32, wait=600))
    await until_waiting(store, 2)

    await store.revoke(queue, BINDING)

    with pytest.raises(NotAuthorized):
        await cut
    assert not kept.done()
    kept.cancel()


async def test_destroying_sends_the_waiting_receiver_away(store, queue):
    waiting = asyncio.create_task(store.receive(queue, TOKEN, wait=600))
    await until_waiting(store)

    await store.destroy(queue)

    with pytest.raises(NotAuthorized):
        await waiting


async def test_closing_sends_the_waiting_receiver_away(store, queue):
    waiting = asyncio.create_task(store.receive(queue, TOKEN, wait=600))
    await until_waiting(store)

    await store.close()

    with pytest.raises(StoreUnavailable):
        await waiting


async def test_destroying_leaves_no_file(store, queue, tmp_path):
    await store.send(queue, TOKEN, b"1")
    assert f"{QUEUE}.db-wal" in files(tmp_path)

    await store.destroy(queue)
    await store.destroy(queue)

    assert files(tmp_path) == []
    with pytest.raises(NotAuthorized):
        await store.send(queue, TOKEN, b"1")
    assert files(tmp_path) == []


async def test_destroying_finishes_what_a_crash_left(store, tmp_path):
    (tmp_path / "queues" / f"{QUEUE}.db-wal").write_bytes(b"half")

    assert await store.names() == [QUEUE]
    await store.destroy(QUEUE)
    assert files(tmp_path) == []


async def test_half_made_file_is_no_queue_and_is_finished_by_converging(
    store, tmp_path
):
    (tmp_path / "queues" / f"{QUEUE}.db").touch()
    with pytest.raises(QueueMissing):
        await store.grant(QUEUE, BINDING, TOKEN, Role.READWRITE)

    await store.converge(QUEUE, SMALL)

    await store.grant(QUEUE, BINDING, TOKEN, Role.READWRITE)


async def test_files_are_for_their_owner_only(store, queue, tmp_path):
    for path in (tmp_path / "queues", *(tmp_path / "queues").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def test_cancelled_call_has_ended_when_it_returns(store, tmp_path):
    calls = [asyncio.create_task(store.converge(QUEUE, SMALL)) for _ in range(3)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    await store.destroy(QUEUE)

    assert files(tmp_path) == []


async def test_cancelled_sender_stores_nothing_later(store, queue):
    sending = asyncio.create_task(store.send(queue, TOKEN, b"1"))
    await asyncio.sleep(0)  # queued, its transaction not begun
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert (await store.state(queue)).stored == 0


async def test_refused_neighbour_in_a_batch_undoes_only_itself(store, queue):
    outcomes = await asyncio.gather(
        *(store.send(queue, TOKEN, b"1") for _ in range(SMALL.max_messages + 2)),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, int) for outcome in outcomes) == SMALL.max_messages
    assert sum(isinstance(outcome, QueueFull) for outcome in outcomes) == 2
    assert (await store.state(queue)).stored == SMALL.max_messages


async def test_messages_and_tokens_survive_a_restart(store, queue, tmp_path, clock):
    await store.send(queue, TOKEN, b"1")
    await store.close()

    again = QueueStore(clock=clock)
    await again.open(tmp_path / "queues")

    message = await again.receive(queue, TOKEN)
    assert message is not None
    assert message.body == b"1"
    await again.close()
    assert files(tmp_path) == [f"{QUEUE}.db"]  # everything closed: nothing beside


async def test_few_files_are_open_however_many_queues_there_are(tmp_path):
    store = QueueStore(max_open=4, threads=2)
    await store.open(tmp_path / "queues")
    names = [f"osb-{number:020}" for number in range(20)]

    async def use(name):
        await store.converge(name, SMALL)
        await store.grant(name, BINDING, TOKEN, Role.READWRITE)
        await store.send(name, TOKEN, name.encode())

    await asyncio.gather(*(use(name) for name in names))
    for name in names:
        message = await store.receive(name, TOKEN)
        assert message is not None
        assert message.body == name.encode()
        assert store.open_files <= 4

    assert await store.names() == names
    await store.close()
    assert store.open_files == 0


async def test_what_another_process_does_to_a_queue_is_seen(
    store, queue, tmp_path, clock
):
    other = QueueStore(clock=clock)
    await other.open(tmp_path / "queues")
    await store.send(queue, TOKEN, b"1")

    await other.revoke(queue, BINDING)
    with pytest.raises(NotAuthorized):
        await store.receive(queue, TOKEN)

    await other.destroy(queue)
    with pytest.raises(QueueMissing):
        await store.state(queue)

    await other.converge(queue, SMALL)  # a new file of the same name
    assert (await store.state(queue)).stored == 0
    await other.close()


async def test_file_that_is_no_database_is_unavailable_and_can_be_destroyed(
    store, tmp_path
):
    (tmp_path / "queues" / f"{QUEUE}.db").write_bytes(b"not a database, by far" * 99)

    with pytest.raises(StoreUnavailable) as refused:
        await store.send(QUEUE, TOKEN, b"1")

    assert isinstance(refused.value.__cause__, sqlite3.Error)
    await store.destroy(QUEUE)
    assert files(tmp_path) == []


async def test_nothing_works_before_the_store_is_open(tmp_path):
    store = QueueStore()

    with pytest.raises(StoreUnavailable):
        await store.send(QUEUE, TOKEN, b"1")
    with pytest.raises(StoreUnavailable):
        await store.converge(QUEUE, SMALL)
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await store.close()


async def test_ping_notices_that_the_directory_is_gone(store, tmp_path):
    await store.ping()

    (tmp_path / "queues").rmdir()

    with pytest.raises(StoreUnavailable):
        await store.ping()
