"""Errors of stores are told apart by what one can do about them."""

import errno
import os
import socket
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from fsspec.exceptions import FSTimeoutError
from s3fs.errors import translate_boto_error

from components.storage.object_faults import Meaning, read_fault


def make_refusal(status: int, code: str, message: str = "text") -> Exception:
    """What s3fs raises for an answer of the store."""
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = translate_boto_error(ClientError(response, "PutObject"))
    return error


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *[(503, "SlowDown"), (503, "ServiceUnavailable"), (500, "InternalError"), (502, "502"), (504, "Unknown")],
        *[(429, "TooManyRequests"), (400, "RequestTimeout"), (409, "OperationAborted"), (404, "NoSuchUpload")],
    ],
)
def test_a_store_that_is_busy(status: int, code: str) -> None:
    assert read_fault(make_refusal(status, code)).meaning is Meaning.BUSY


@pytest.mark.parametrize(
    "problem",
    [
        EndpointConnectionError(endpoint_url="http://x"),
        ConnectTimeoutError(endpoint_url="http://x"),
        ReadTimeoutError(endpoint_url="http://x"),
        ConnectionRefusedError(),
        ConnectionResetError(),
        TimeoutError(),
        FSTimeoutError(),
        socket.gaierror("no such host"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_a_store_that_does_not_answer(problem: Exception) -> None:
    assert read_fault(problem).meaning is Meaning.BUSY


@pytest.mark.parametrize(
    ("status", "code", "fix"),
    [
        (404, "NoSuchBucket", "create the bucket"),
        (403, "AccessDenied", "docs/workers.md"),
        (403, "403", "docs/workers.md"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", "clock"),
        (301, "PermanentRedirect", "AWS_DEFAULT_REGION"),
        (400, "InvalidRequest", "correct what it names"),
        (501, "NotImplemented", "correct what it names"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, code: str, fix: str) -> None:
    fault = read_fault(make_refusal(status, code))
    assert fault.meaning is Meaning.REFUSED
    assert fix in fault.fix
    assert str(status) in fault.got


@pytest.mark.parametrize(
    ("problem", "fix"),
    [
        (NoCredentialsError(), "AWS_ACCESS_KEY_ID"),
        (SSLError(endpoint_url="https://x", error="certificate verify failed"), "AWS_CA_BUNDLE"),
        (ImportError("Please install gcsfs"), "gcsfs"),
        (RuntimeError("odd"), "correct what it names"),
    ],
)
def test_a_mistake_of_this_machine_says_what_to_do(problem: Exception, fix: str) -> None:
    fault = read_fault(problem)
    assert (fault.meaning, fix in fault.fix) == (Meaning.REFUSED, True)


@pytest.mark.parametrize("problem", [make_refusal(404, "NoSuchKey"), make_refusal(404, "404"), FileNotFoundError("a")])
def test_a_missing_object(problem: Exception) -> None:
    assert read_fault(problem).meaning is Meaning.MISSING


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_an_error_of_the_disk(number: int) -> None:
    fault = read_fault(OSError(number, os.strerror(number)))
    assert (fault.meaning, fault.got) == (Meaning.LOCAL, os.strerror(number))


def test_passwords_are_not_shown() -> None:
    for problem in (make_refusal(400, "InvalidURI", "http://a:geheim@b"), OSError("http://a:geheim@b")):
        assert "geheim" not in read_fault(problem).got
