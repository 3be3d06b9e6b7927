"""Whether a run can begin: the broker answers, lets the kit in, has a catalog.

Everything here ends as two sentences for a person: what is in the way, and what to do
about it. A catalog that is wrong is no obstacle: the checks say what is wrong with it.
"""

from osbkit.conformance import catalog as catalogs
from osbkit.conformance.exchange import NOT_JSON, Exchange
from osbkit.conformance.sending import Connection
from osbkit.conformance.session import Choices

NAMED = 12  # plans that a sentence names at most


class Unreached(Exception):
    """The kit cannot run against this broker as it was told to.

    Attributes:
        sentence: what is in the way.
        fix: what to do about it.
    """

    def __init__(self, sentence: str, fix: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.fix = fix


async def reach(connection: Connection, choices: Choices) -> None:
    """Ask for the catalog once, outside the run.

    Raises:
        Unreached: the run could not say anything.
    """
    answer = await connection.send("GET", "/v2/catalog")
    if answer.status != 200:
        raise _refused(answer, connection)
    if answer.json is NOT_JSON:
        raise Unreached(
            "What answers there is no service broker: GET /v2/catalog gave no JSON.",
            "Name the root of the broker: what stands before /v2.",
        )
    found = catalogs.read(answer.json, service=choices.service, plan=choices.plan)
    every = catalogs.read(answer.json)
    if every.plans and not found.plans:
        labels = [plan.label for plan in every.plans]
        more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
        raise Unreached(
            "The catalog has no such offering or plan.",
            f"It has {', '.join(labels[:NAMED])}{more}.",
        )


def _refused(answer: Exchange, connection: Connection) -> Unreached:
    if not answer.status:
        return Unreached(
            f"The broker gave no answer: {answer.trouble}.",
            "Is it running, and is the URL right? A certificate of your own authority"
            " is named by --ca-file.",
        )
    said = f"GET /v2/catalog was answered {answer.status}"
    if answer.status in {401, 403}:
        given = connection.credentials.header is not None
        return Unreached(
            f"{said}: the broker does not let the kit in.",
            "Check the user and password, or the token."
            if given
            else "Give OSB_USER and OSB_PASSWORD, or OSB_TOKEN, in the environment.",
        )
    if answer.status == 412:
        return Unreached(
            f"{said}: the broker does not serve API version {connection.version}.",
            "Name one that it does serve with --api-version.",
        )
    if 300 <= answer.status < 400:
        where = answer.headers.get("Location", "another address")
        return Unreached(
            f"{said}, a redirect, which platforms do not follow.",
            f"Name the address that it leads to: {where}",
        )
    if answer.status == 404:
        return Unreached(
            f"{said}: there is no broker at this URL.",
            "Name the root of the broker: what stands before /v2, a prefix included.",
        )
    return Unreached(
        f"{said}.",
        "The kit cannot begin without a catalog; look into the broker's log.",
    )
