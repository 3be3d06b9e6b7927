"""How a request ends: at once, or with an operation that is watched."""

from typing import Any

from osbkit.cli.client.hints import expect
from osbkit.cli.client.polling import Operation, Standing, follow
from osbkit.cli.client.remote import Answer
from osbkit.cli.client.session import Session
from osbkit.cli.terminal import Problem, watching

Json = dict[str, Any]


def settled(
    session: Session,
    answer: Answer,
    *,
    path: str,
    ids: dict[str, str],
    action: str,
    wait: float | None,
    deleting: bool = False,
) -> Json:
    """The fields that tell how it ended; waits for the end of a 202.

    Args:
        ids: `service_id` and `plan_id`, as far as they are known: hints.
        action: completes "The broker did not …".
        wait: seconds at most; None does not wait.

    Raises:
        Problem: the operation failed, or has not ended in time.
    """
    if answer.status != 202:
        return {"state": "succeeded", "status": answer.status}
    named = answer.text("operation")
    if named is not None:
        session.about["operation"] = named
    if wait is None:
        return {"state": "in progress", "status": answer.status}
    hints = ids if named is None else {**ids, "operation": named}
    operation = Operation(path=path, hints=hints, deleting=deleting)
    standing = watched(session, operation, accepted=answer, wait=wait)
    failure = f"The broker did not {action}: the operation failed."
    return {**unless_failed(standing, failure), "status": answer.status}


def watched(
    session: Session, operation: Operation, *, accepted: Answer | None, wait: float
) -> Standing:
    """Follow an operation, with a line for the person who waits."""
    try:
        with watching(quiet=session.as_json) as show:
            return follow(
                session.remote,
                operation,
                accepted=accepted,
                clock=session.clock,
                limit=wait,
                show=show,
            )
    except KeyboardInterrupt as error:
        raise Problem(
            "Stopped watching; the operation goes on at the broker.",
            hint="Follow it with `osbkit client poll`.",
            fields={"state": "in progress"},
        ) from error


def unless_failed(standing: Standing, failure: str) -> Json:
    """What last_operation said, with the state.

    Raises:
        Problem: `failure`, if the operation failed.
    """
    fields: Json = {**standing.body, "state": standing.state}
    if standing.state != "failed":
        return fields
    details = [(key, str(value)) for key, value in standing.body.items()]
    raise Problem(failure, details=details, fields=fields)


def removed(
    session: Session,
    answer: Answer,
    *,
    path: str,
    ids: dict[str, str],
    action: str,
    wait: float | None,
) -> Json:
    """Tell how a DELETE ended. After 200 and 410 it is gone, whatever the body."""
    if answer.status == 410:
        return {"state": "gone", "status": 410}
    if answer.status != 200:
        expect(answer, {202}, action, session.remote.target)
    return settled(
        session,
        answer,
        path=path,
        ids=ids,
        action=action,
        wait=wait,
        deleting=True,
    )
