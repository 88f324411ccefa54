"""A store that speaks S3: any server with conditional puts, such as AWS, MinIO, Ceph, SeaweedFS.

Through obstore, the bindings of the Rust crate object_store: PutObject with `If-None-Match: *` and a SHA-256 checksum.
A put is not repeated by itself: the answer to the first one may have been lost, and the second would be refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import obstore
from obstore import exceptions
from obstore.store import S3Store as Bucket

from secret_authority.clients.object_store import (
    ObjectExistsError,
    ObjectMissingError,
    StoredObject,
    StoreRefusedError,
    check_key,
    check_prefix,
)
from secret_authority.core.errors import Unavailable

CONNECT_SECONDS, ANSWER_SECONDS = 10, 300
# Of lists and deletions the library has no error of its own for this; the second is S3's own code.
_FORBIDDEN = ("status code: 403", "AccessDenied")
_T = TypeVar("_T")


@dataclass(frozen=True)
class S3Credentials:
    """A static key of one identity of the store. The secret is left out of repr()."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


class S3Store:
    """`ObjectStore` and `ObjectDeleter` in one bucket; which of it the credentials allow, the server decides."""

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        region: str,
        credentials: S3Credentials,
        ca: str | None = None,
        path_style: bool = True,
    ) -> None:
        """`ca`: PEM certificates that the server's is checked against. Raises ValueError for a store without TLS."""
        if not endpoint.startswith("https://"):
            raise ValueError("the endpoint of a store begins with https://")
        options: dict[str, Any] = {
            "allow_http": False,
            "allow_invalid_certificates": False,
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=ANSWER_SECONDS),
        }
        if ca is not None:
            options["root_certificate"] = ca
        key = {"access_key_id": credentials.access_key_id, "secret_access_key": credentials.secret_access_key}
        self._shown = f"{endpoint}/{bucket}"
        # The provider goes before credentials of the environment, each setting here before one of the environment.
        self._bucket = Bucket(
            bucket,
            endpoint=endpoint,
            region=region,
            virtual_hosted_style_request=not path_style,
            conditional_put="etag",
            checksum_algorithm="SHA256",
            skip_signature=False,
            client_options=options,  # type: ignore[arg-type]
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=ANSWER_SECONDS)},
            credential_provider=lambda: {**key, "expires_at": None},  # type: ignore[arg-type]
        )

    def put_new(self, key: str, content: bytes) -> None:
        check_key(key)
        self._ask(f"PUT {key}", lambda: obstore.put(self._bucket, key, content, mode="create", use_multipart=False))

    def get(self, key: str) -> bytes:
        check_key(key)
        return self._ask(f"GET {key}", lambda: bytes(obstore.get(self._bucket, key).bytes()))

    def list(self, prefix: str) -> list[StoredObject]:
        check_prefix(prefix)
        pages = self._ask(f"LIST {prefix}", lambda: obstore.list(self._bucket, prefix).collect())
        return sorted((StoredObject(one["path"], one["size"]) for one in pages), key=lambda one: one.key)

    def delete(self, key: str) -> None:
        check_key(key)
        self._ask(f"DELETE {key}", lambda: obstore.delete(self._bucket, key))

    def _refused(self, what: str) -> StoreRefusedError:
        return StoreRefusedError(f"{self._shown} does not allow {what} with these credentials")

    def _ask(self, what: str, call: Callable[[], _T]) -> _T:
        """The library's own messages may quote an answer, so they are left out."""
        try:
            return call()
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise ObjectExistsError(f"{what} to {self._shown}: it is there already; it was not changed") from None
        except (exceptions.NotFoundError, FileNotFoundError):
            raise ObjectMissingError(f"{what} of {self._shown}: it is not there") from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            raise self._refused(what) from None
        except (exceptions.BaseError, OSError) as error:
            if any(text in str(error) for text in _FORBIDDEN):
                raise self._refused(what) from None
            raise Unavailable(f"{self._shown} cannot answer {what}: {type(error).__name__}") from None
