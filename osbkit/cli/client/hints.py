"""From a broker's refusal to a problem with words for the person who asked.

One place for what each status and error code means at a terminal.
Spec: "Service Broker Errors", "Error Codes".
"""

from collections.abc import Collection
from typing import Any

from osbkit.cli.client.remote import Answer, Target
from osbkit.cli.terminal import Problem

BY_CODE = {
    "AsyncRequired": "The plan works asynchronously only: leave --no-async out.",
    "ConcurrencyError": "Another operation is running on it. Follow it with"
    " `osbkit client poll`, then try again.",
    "RequiresApp": "This offering binds to applications only: give --app GUID.",
    "MaintenanceInfoConflict": "The catalog has another maintenance version; see"
    " `osbkit client catalog --json`.",
}

BY_STATUS = {
    403: "The broker knows this credential, but it may not do this.",
    404: "Is the id right, and is --url the broker's root, without /v2?",
    405: "Is --url the broker's root, without /v2?",
    409: "The id is in use with other attributes. Choose another id, or remove that"
    " one first.",
    410: "It is gone already.",
    413: "The broker takes no body of this size.",
    429: "The broker asks for a pause.",
    500: "The broker's log knows more; look for the request id.",
    502: "A proxy answered in the broker's place. Is the broker running?",
    503: "This is passing trouble. Try again shortly.",
    504: "A proxy answered in the broker's place. The broker may still be at work.",
}

SHOWN = ("instance_usable", "update_repeatable")


class BrokerSaidNo(Problem):
    """An answer that is not the one asked for."""

    def __init__(self, answer: Answer, action: str, target: Target) -> None:
        details = [("status", answer.phrase)]
        fields: dict[str, Any] = {"status": answer.status}
        for key in ("error", "description"):
            text = answer.text(key)
            if text is not None:
                details.append((key, text))
                fields[key] = text
        for key in SHOWN:
            value = (answer.body or {}).get(key)
            if isinstance(value, bool):
                details.append((key, "yes" if value else "no"))
                fields[key] = value
        if answer.retry_after is not None:
            details.append(("retry after", f"{answer.retry_after} s"))
            fields["retry_after"] = answer.retry_after
        details.append(("request", answer.request_id))
        fields["request_id"] = answer.request_id
        super().__init__(
            f"The broker did not {action}.",
            details=details,
            hint=hint_for(answer, target),
            fields=fields,
        )
        self.answer = answer


def hint_for(answer: Answer, target: Target) -> str | None:
    """What the person can do about it; None where nothing general can be said."""
    if answer.status == 401:
        return _about_credentials(target)
    if answer.status == 412 or (answer.status == 400 and _is_about_version(answer)):
        return (
            f"The broker does not speak version {target.api_version} of the API."
            " Choose another with --api-version."
        )
    if 300 <= answer.status < 400:
        where = f" to {answer.location}" if answer.location else ""
        return f"The broker redirects{where}. Redirects are not followed: fix --url."
    if answer.body is None and answer.status < 300:
        return (
            f"The body is no JSON object ({answer.content_type}). Is --url the root of"
            " a broker?"
        )
    code = answer.text("error")
    if code is not None and code in BY_CODE:
        return BY_CODE[code]
    return BY_STATUS.get(answer.status)


def _about_credentials(target: Target) -> str:
    if target.anonymous:
        return (
            "No credential was sent. Give --user and --password (OSB_USER,"
            " OSB_PASSWORD), or --token (OSB_TOKEN)."
        )
    if target.token is not None:
        return "The token is not valid for this broker: check --token (OSB_TOKEN)."
    return (
        "The user or the password is not valid for this broker: check --user and"
        " --password (OSB_USER, OSB_PASSWORD)."
    )


def _is_about_version(answer: Answer) -> bool:
    return "x-broker-api-version" in (answer.text("description") or "").lower()


def expect(
    answer: Answer, statuses: Collection[int], action: str, target: Target
) -> dict[str, Any]:
    """The body of an answer with one of these statuses.

    Args:
        action: completes "The broker did not …".

    Raises:
        BrokerSaidNo: another status, or a body that is no JSON object.
    """
    if answer.status not in statuses or answer.body is None:
        raise BrokerSaidNo(answer, action, target)
    return answer.body
