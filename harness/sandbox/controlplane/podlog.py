"""Which container a log or exec request means, and what is wrong with its options. Pure; called by the HTTP front."""

from collections.abc import Mapping

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import statuses


def check(pod: Obj, query: Mapping[str, str], sub: str) -> str:
    """The container meant; raise ApiStatus where it is not clear, does not exist, or an option is wrong."""
    name = pod["metadata"]["name"]
    if sub == "log":
        _check_options(name, query)
    boxes = [
        box["name"]
        for key in ("containers", "initContainers", "ephemeralContainers")
        for box in pod["spec"].get(key) or []
    ]
    wanted = query.get("container")
    if wanted:
        if wanted not in boxes:
            raise statuses.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    main = [box["name"] for box in pod["spec"]["containers"]]
    if len(main) > 1:
        listed = " ".join(main)
        raise statuses.bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{listed}]"
        )
    return str(main[0])


def _check_options(name: str, query: Mapping[str, str]) -> None:
    causes = []
    for field, least in (("tailLines", 0), ("sinceSeconds", 1), ("limitBytes", 1)):
        if field not in query:
            continue
        try:
            value = int(query[field])
        except ValueError:
            text = f'unable to decode query: strconv.ParseInt: parsing "{query[field]}": invalid syntax'
            raise statuses.bad_request(text) from None
        if value < least:
            words = f"must be greater than or equal to {least}" if least == 0 else "must be greater than 0"
            causes.append(statuses.invalid_value(field, value, words))
    if "sinceSeconds" in query and "sinceTime" in query:
        causes.append(
            statuses.forbidden_field(
                "sinceSeconds", "at most one of `sinceTime` or `sinceSeconds` may be specified"
            )
        )
    if causes:
        raise statuses.invalid("PodLogOptions", "", name, causes)
