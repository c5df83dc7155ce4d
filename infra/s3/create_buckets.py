"""Create the buckets named on the command line unless they exist. Knows no component; compose runs it once.

Address and keys come from boto3's own environment variables (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, ...).
"""

import sys

import boto3


def main(buckets: list[str]) -> None:
    """Create each bucket that does not exist yet."""
    client = boto3.client("s3")
    existing = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in buckets:
        if bucket not in existing:
            client.create_bucket(Bucket=bucket)
        sys.stdout.write(f"bucket {bucket}: {'exists' if bucket in existing else 'created'}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
