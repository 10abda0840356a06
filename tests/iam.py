"""An S3 client to whom only what a policy allows is allowed, refused as AWS refuses.

Identity policies with `Allow` statements, `Resource` patterns and conditions on `s3:prefix`
(AWS, Actions, resources, and condition keys for Amazon S3). A condition on a key that a request
does not have is not met; so, where listing is bound to a prefix, an object that is missing is
"denied" and not "not found", and the bucket itself may not be looked at.
"""

import json
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

AWS = Path(__file__).parents[1] / "docs/aws"

ACTIONS = {
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
}


def policy(name, bucket=""):
    """A policy of docs/aws, for this bucket."""
    text = (AWS / name).read_text()
    return json.loads(text.replace("BUCKET", bucket) if bucket else text)


def actions(policy, service):
    """All actions of a service that a policy allows, without the service's name."""
    granted = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert not any("*" in action for action in granted), "least privilege"
    return {a.partition(":")[2] for a in granted if a.startswith(service + ":")}


def allows(policy, operation, parameters):
    key = parameters.get("Key")
    resource = f"arn:aws:s3:::{parameters['Bucket']}" + (f"/{key}" if key is not None else "")
    return any(
        ACTIONS[operation] in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in _list(statement["Resource"]))
        and _met(statement.get("Condition", {}), parameters)
        for statement in policy["Statement"]
    )


def _met(condition, parameters):
    if not condition:
        return True
    assert list(condition) == ["StringLike"] and list(condition["StringLike"]) == ["s3:prefix"]
    prefix = parameters.get("Prefix")
    return prefix is not None and any(
        fnmatchcase(prefix, pattern) for pattern in _list(condition["StringLike"]["s3:prefix"])
    )


def _list(value):
    return [value] if isinstance(value, str) else value


def bound(client, policy, plain):
    """The client, bound to the policy from now on; `plain` is one that may everything.

    Returns the set to which each operation that is allowed is added.
    """
    used = set()

    def remember(params, context, **_):
        context["as called"] = dict(params)

    def answer(model, context, **_):
        name, parameters = model.name, context["as called"]
        if allows(policy, name, parameters) and not _hidden(name, parameters):
            used.add(name)
            return None
        code = "403" if name.startswith("Head") else "AccessDenied"
        headers = {"x-amz-bucket-region": client.meta.region_name}
        return SimpleNamespace(status_code=403), {
            "Error": {"Code": code, "Message": "Access Denied"},
            "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": headers},
        }

    def _hidden(name, parameters):
        """Whether an object is missing, which only those are told who may list the bucket."""
        if name not in ("GetObject", "HeadObject"):
            return False
        if allows(policy, "HeadBucket", {"Bucket": parameters["Bucket"]}):
            return False
        found = plain.list_objects_v2(Bucket=parameters["Bucket"], Prefix=parameters["Key"])
        return parameters["Key"] not in [entry["Key"] for entry in found.get("Contents", [])]

    client.meta.events.register("provide-client-params.s3", remember)
    client.meta.events.register("before-call.s3", answer)
    return used
