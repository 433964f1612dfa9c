"""An S3 server that checks keys and permissions: moto's, with a bucket `team` and people who may do different things.

    python -m tests.helpers.s3_server

Prints its address and each person's keys as one line of JSON, and ends when its input is closed.
"""

import json
import sys
from typing import Any

import boto3
from moto import settings
from moto.server import ThreadedMotoServer

BUCKET = "team"
READ, LIST, WRITE = "s3:GetObject", "s3:ListBucket", "s3:PutObject"
MAY = {
    **{name: [READ, LIST, WRITE] for name in ("ana", "ben", "chen")},
    "reader": [READ, LIST],
    "no_list": [READ, WRITE],
    "stranger": [],
}


def main() -> None:
    """Serve until the input is closed."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    anyone: Any = {"endpoint_url": url, "aws_access_key_id": "-", "aws_secret_access_key": "-"}
    boto3.client("s3", region_name="us-east-1", **anyone).create_bucket(Bucket=BUCKET)
    identities = boto3.client("iam", region_name="us-east-1", **anyone)
    keys = {name: create_user(identities, name, actions) for name, actions in MAY.items()}
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0  # from here on, keys and permissions are checked
    print(json.dumps({"url": url, "keys": keys}), flush=True)
    sys.stdin.read()


def create_user(identities: Any, name: str, actions: list[str]) -> list[str]:
    """Return the keys of a new user who may do these actions."""
    identities.create_user(UserName=name)
    if actions:
        allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        identities.put_user_policy(UserName=name, PolicyName=BUCKET, PolicyDocument=policy)
    key = identities.create_access_key(UserName=name)["AccessKey"]
    return [key["AccessKeyId"], key["SecretAccessKey"]]


if __name__ == "__main__":
    main()
