"""Makes a bucket with nothing but the standard library: one signed request (AWS Signature Version 4, single chunk)."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
from datetime import UTC, datetime

REGION = "us-east-1"
_EMPTY = hashlib.sha256(b"").hexdigest()


def make_bucket(address: str, port: int, ca: str, bucket: str, key: str, secret: str) -> str | None:
    """None when the bucket is there now, else what is missing for it."""
    context = ssl.create_default_context(cafile=ca)
    connection = http.client.HTTPSConnection(address, port, timeout=5, context=context)
    host = f"{address}:{port}"
    try:
        connection.request("PUT", f"/{bucket}", headers=signed("PUT", host, f"/{bucket}", key, secret))
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return "it does not answer"
    finally:
        connection.close()
    if answer.status == 200 or "BucketAlreadyOwnedByYou" in body or "BucketAlreadyExists" in body:
        return None
    return f"it answers {answer.status} to the making of its bucket"


def signed(method: str, host: str, path: str, key: str, secret: str, now: datetime | None = None) -> dict[str, str]:
    """The headers of a request without a body and without a query."""
    at = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": host, "x-amz-content-sha256": _EMPTY, "x-amz-date": at}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join((method, path, "", lines, names, _EMPTY))
    scope = f"{at[:8]}/{REGION}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    signing = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        signing = hmac.digest(signing, part.encode(), "sha256")
    credential = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signing.hex()}"
    return {**headers, "authorization": credential}
