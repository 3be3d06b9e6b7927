"""Wrong in what platforms send, and in the names that they look for."""

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from tests.kit.matrix import Mutant, instead, offers, refuses
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker, Refusal

Change = Callable[[ReferenceBroker], None]


def _identity(asked: Asked) -> tuple[str, Json]:
    """Platform and value of the originating identity; empty without a good one."""
    header = asked.headers.get("x-broker-api-originating-identity", "")
    platform, _, encoded = header.partition(" ")
    try:
        value = json.loads(b64decode(encoded))
    except ValueError:
        return "", {}
    return platform, value if isinstance(value, dict) else {}


def _knows_no_user_with(platform: str, name: str) -> Change:
    """Who is identified with such a field is refused."""

    def when(broker: ReferenceBroker, asked: Asked) -> bool:
        whose, value = _identity(asked)
        return whose == platform and name in value

    return refuses("provision", 400, when)


def _context(asked: Asked) -> Json:
    context = asked.body.get("context")
    return context if isinstance(context, dict) else {}


def _wants_no(verb: str, platform: str, *names: str) -> Change:
    """A context of a platform with these fields is refused."""

    def when(broker: ReferenceBroker, asked: Asked) -> bool:
        context = _context(asked)
        return context.get("platform") == platform and set(names) <= set(context)

    return refuses(verb, 400, when)


def _wants(verb: str, platform: str, name: str) -> Change:
    """A context of a platform without this field is refused."""

    def when(broker: ReferenceBroker, asked: Asked) -> bool:
        context = _context(asked)
        return context.get("platform") == platform and name not in context

    return refuses(verb, 400, when)


def _fails_later(platform: str) -> Change:
    """A provision from this platform is accepted and comes to a bad end."""

    def turn(
        broker: ReferenceBroker, asked: Asked, usual: Callable[[Asked], Answer]
    ) -> Answer:
        answer = usual(asked)
        if answer.status == 201 and _context(asked).get("platform") == platform:
            thing = broker.instances[asked.instance_id]
            operation = broker.begin(thing, "provision", "failed", "ready")
            return Answer(202, {"operation": operation.token})
        return answer

    return instead("provision", turn)


def _bind_resource(*names: str) -> Change:
    """A bind_resource with exactly these fields is refused."""

    def when(broker: ReferenceBroker, asked: Asked) -> bool:
        resource = asked.body.get("bind_resource")
        return isinstance(resource, dict) and set(resource) == set(names)

    return refuses("bind", 400, when)


def _says_all_need_apps(
    broker: ReferenceBroker, asked: Asked, usual: Callable[[Asked], Answer]
) -> Answer:
    """Not even an app in the bind_resource is seen."""
    resource = asked.body.get("bind_resource")
    if isinstance(resource, dict) and "app_annotations" in resource:
        raise Refusal(422, "Only applications can be bound.", "RequiresApp")
    return usual(asked)


def _offering(**metadata: Any) -> Change:
    return offers(lambda catalog: catalog["services"][0]["metadata"].update(metadata))


def _plan(**metadata: Any) -> Change:
    return offers(
        lambda catalog: catalog["services"][4]["plans"][1]["metadata"].update(metadata)
    )


def _client(**changes: Any) -> Change:
    return offers(
        lambda catalog: catalog["services"][0]["dashboard_client"].update(changes)
    )


MUTANTS = [
    Mutant(
        "cloud_foundry_identity_may_say_no_more",
        "A Cloud Foundry identity with more than user_id is refused.",
        fails=("cloud_foundry_identity_is_accepted",),
        change=_knows_no_user_with("cloudfoundry", "user_name"),
    ),
    Mutant(
        "kubernetes_identity_may_say_no_more",
        "A Kubernetes identity with more than the usual fields is refused.",
        fails=("kubernetes_identity_is_accepted",),
        change=_knows_no_user_with("kubernetes", "impersonated"),
    ),
    Mutant(
        "context_of_another_platform_is_refused",
        "A context of a platform that the broker does not know is refused.",
        fails=("context_of_any_platform_is_accepted",),
        change=_wants_no("provision", "another-platform"),
    ),
    Mutant(
        "context_of_another_platform_fails",
        "An instance for a platform that the broker does not know fails.",
        fails=("context_of_any_platform_is_accepted",),
        change=_fails_later("another-platform"),
    ),
    Mutant(
        "provision_wants_no_annotations_of_cloud_foundry",
        "A provision with Cloud Foundry's annotations is refused.",
        fails=("cloud_foundry_provisions_with_its_context",),
        change=_wants_no("provision", "cloudfoundry", "organization_annotations"),
    ),
    Mutant(
        "update_wants_no_context_of_cloud_foundry",
        "An update with Cloud Foundry's annotations is refused.",
        fails=("cloud_foundry_updates_with_its_context",),
        change=_wants_no("update", "cloudfoundry", "space_annotations"),
    ),
    Mutant(
        "bind_wants_an_instance_name",
        "A binding without instance_name in Cloud Foundry's context is refused.",
        fails=("cloud_foundry_binds_with_its_context",),
        change=_wants("bind", "cloudfoundry", "instance_name"),
    ),
    Mutant(
        "provision_wants_no_annotations_of_kubernetes",
        "A provision with Kubernetes' annotations is refused.",
        fails=("kubernetes_provisions_with_its_context",),
        change=_wants_no("provision", "kubernetes", "namespace_annotations"),
    ),
    Mutant(
        "provision_wants_no_clusterid",
        "A provision with Kubernetes' clusterid is refused.",
        fails=(
            "kubernetes_provisions_with_its_context",
            "any_context_is_provisioned",
        ),
        change=_wants_no("provision", "kubernetes", "clusterid"),
    ),
    Mutant(
        "update_wants_no_context_of_kubernetes",
        "An update with Kubernetes' annotations is refused.",
        fails=("kubernetes_updates_with_its_context",),
        change=_wants_no("update", "kubernetes", "namespace_annotations"),
    ),
    Mutant(
        "bind_wants_organizations",
        "A binding without organization_guid in Kubernetes' context is refused.",
        fails=("kubernetes_binds_with_its_context",),
        change=_wants("bind", "kubernetes", "organization_guid"),
    ),
    Mutant(
        "context_wants_a_clusterid",
        "A provision without clusterid in Kubernetes' context is refused.",
        fails=("small_contexts_are_accepted",),
        change=_wants("provision", "kubernetes", "clusterid"),
    ),
    Mutant(
        "context_wants_a_space_name",
        "A provision without space_name in Cloud Foundry's context is refused.",
        fails=("small_contexts_are_accepted",),
        change=_wants("provision", "cloudfoundry", "space_name"),
    ),
    Mutant(
        "service_keys_are_refused",
        "A bind_resource with credential_client_id alone is refused.",
        fails=("bind_resources_of_cloud_foundry_are_accepted",),
        change=_bind_resource("credential_client_id"),
    ),
    Mutant(
        "bind_resource_wants_no_space",
        "A bind_resource with space_guid beside app_guid is refused.",
        fails=("bind_resources_of_cloud_foundry_are_accepted",),
        change=_bind_resource("app_guid", "space_guid"),
    ),
    Mutant(
        "annotated_apps_are_no_apps",
        "A binding to an app with annotations is refused with RequiresApp.",
        fails=(
            "bind_resources_of_cloud_foundry_are_accepted",
            "codes_mean_what_they_say",
        ),
        change=instead("bind", _says_all_need_apps),
    ),
    Mutant(
        "offering_metadata_is_no_text",
        "longDescription of an offering is an array.",
        fails=("usual_metadata_of_offerings_are_texts",),
        change=_offering(longDescription=["a", "b"]),
    ),
    Mutant(
        "bullets_are_numbers",
        "The bullets of a plan are numbers.",
        fails=("usual_metadata_of_plans_have_their_types",),
        change=_plan(bullets=[1, 2]),
    ),
    Mutant(
        "costs_have_texts_as_amounts",
        "The costs of a plan tell amounts as texts.",
        fails=("usual_metadata_of_plans_have_their_types",),
        change=_plan(costs=[{"amount": {"usd": "1.5"}, "unit": "MONTHLY"}]),
    ),
    Mutant(
        "costs_have_no_unit",
        "The costs of a plan have no unit.",
        fails=("usual_metadata_of_plans_have_their_types",),
        change=_plan(costs=[{"amount": {"usd": 1.5}}]),
    ),
    Mutant(
        "plan_display_name_is_an_object",
        "displayName of a plan is an object.",
        fails=("usual_metadata_of_plans_have_their_types",),
        change=_plan(displayName={"en": "More"}),
    ),
    Mutant(
        "shareable_is_a_word",
        "metadata.shareable is the text true.",
        fails=("shareable_is_a_boolean",),
        change=_offering(shareable="true"),
    ),
    Mutant(
        "dashboard_client_has_no_secret",
        "The secret of a dashboard_client is empty.",
        fails=("dashboard_client_is_complete",),
        change=_client(secret=""),
    ),
    Mutant(
        "dashboard_client_has_a_number_as_id",
        "The id of a dashboard_client is a number.",
        fails=("dashboard_client_is_complete",),
        change=_client(id=7),
    ),
    Mutant(
        "dashboard_client_redirects_to_many",
        "The redirect_uri of a dashboard_client is an array.",
        fails=("dashboard_client_is_complete",),
        change=_client(redirect_uri=["https://dashboard.example.com"]),
    ),
]
