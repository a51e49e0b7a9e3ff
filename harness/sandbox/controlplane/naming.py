"""What names, labels and annotations may look like, with the server's sentences; and metadata as a whole.

Called by validation of every kind. It refuses nothing itself: it returns causes.
"""

import re

from harness.sandbox.api import Obj
from harness.sandbox.controlplane.resources import Resource
from harness.sandbox.controlplane.statuses import Cause, forbidden_field, invalid_value, required, too_long

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
ANNOTATIONS_LIMIT = 256 * 1024

RULES = {
    "label": (LABEL, LABEL_TEXT, 63),
    "label1035": (LABEL_1035, LABEL_1035_TEXT, 63),
    "subdomain": (SUBDOMAIN, SUBDOMAIN_TEXT, 253),
}


def name_causes(rule: str, name: str, at: str = "metadata.name") -> list[Cause]:
    """What is wrong with a name under a rule of the resource table."""
    if rule == "path":
        bad = name in (".", "..") or "/" in name or "%" in name
        return [invalid_value(at, name, "may not contain '/' or '%'")] if bad else []
    form, text, limit = RULES[rule]
    causes = []
    if len(name) > limit:
        causes.append(invalid_value(at, name, f"must be no more than {limit} characters"))
    if not form.fullmatch(name):
        causes.append(invalid_value(at, name, text))
    return causes


def key_causes(key: str, at: str) -> list[Cause]:
    """What is wrong with the key of a label, annotation, taint or resource."""
    prefix, slash, name = key.rpartition("/")
    causes = []
    if slash and (not prefix or not SUBDOMAIN.fullmatch(prefix)):
        causes.append(invalid_value(at, key, f"prefix part {SUBDOMAIN_TEXT}"))
    if not name:
        causes.append(invalid_value(at, key, "name part must be non-empty"))
    elif len(name) > 63:
        causes.append(invalid_value(at, key, "name part must be no more than 63 characters"))
    if not QUALIFIED.fullmatch(name):
        causes.append(invalid_value(at, key, QUALIFIED_TEXT))
    return causes


def label_causes(labels: Obj, at: str) -> list[Cause]:
    """What is wrong with a map of labels."""
    causes = []
    for key, value in labels.items():
        causes += key_causes(key, at)
        if len(value) > 63:
            causes.append(invalid_value(at, value, "must be no more than 63 characters"))
        if not VALUE.fullmatch(value):
            causes.append(invalid_value(at, value, VALUE_TEXT))
    return causes


def meta_causes(meta: Obj, resource: Resource) -> list[Cause]:
    """What is wrong with the metadata of a new or changed object."""
    causes = []
    name, base = meta.get("name", ""), meta.get("generateName", "")
    if base:
        causes += name_causes(resource.name_rule, base.rstrip("-.") or base, "metadata.generateName")
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    else:
        causes += name_causes(resource.name_rule, name)
    causes += label_causes(meta.get("labels") or {}, "metadata.labels")
    annotations = meta.get("annotations") or {}
    for key in annotations:
        causes += key_causes(key.lower(), "metadata.annotations")
    if sum(len(k) + len(v) for k, v in annotations.items()) > ANNOTATIONS_LIMIT:
        causes.append(too_long("metadata.annotations", ANNOTATIONS_LIMIT))
    for finalizer in meta.get("finalizers") or []:
        causes += key_causes(finalizer, "metadata.finalizers")
    for at, owner in enumerate(meta.get("ownerReferences") or []):
        path = f"metadata.ownerReferences[{at}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append(
                    invalid_value(f"{path}.{field}", owner.get(field, ""), f"{field} must not be empty")
                )
    controllers = [o for o in meta.get("ownerReferences") or [] if o.get("controller")]
    if len(controllers) > 1:
        causes.append(
            invalid_value(
                "metadata.ownerReferences",
                meta["ownerReferences"],
                "Only one reference can have Controller set to true. Found "
                f'"true" in references for {controllers[0]["name"]} and {controllers[1]["name"]}',
            )
        )
    return causes


def meta_update_causes(new: Obj, old: Obj) -> list[Cause]:
    """What an update may not do to metadata."""
    causes = []
    if old.get("deletionTimestamp"):
        added = [f for f in new.get("finalizers") or [] if f not in (old.get("finalizers") or [])]
        if added:
            words = ", ".join(f'"{f}"' for f in added)
            text = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{words}}}"
            )
            causes.append(forbidden_field("metadata.finalizers", text))
    return causes
