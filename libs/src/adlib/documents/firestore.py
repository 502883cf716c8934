"""The document store in Firestore.

A stored document has three fields: `data`, `version` and `expires_at`, a timestamp or null. Firestore deletes expired
documents within about a day; each collection group needs a TTL policy on `expires_at`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.firestore import (
    Client,
    CollectionReference,
    DocumentReference,
    FieldFilter,
    LastUpdateOption,
    Or,
    Query,
)
from google.cloud.firestore import DocumentSnapshot as AnySnapshot
from google.cloud.firestore_v1.aggregation import AggregationQuery
from google.cloud.firestore_v1.field_path import FieldPath
from typing_extensions import override

from adlib.clock import Clock, SystemClock
from adlib.documents.protocol import Document, Documents
from adlib.errors import Aborted, DeadlineExceeded, Internal, Unavailable
from adlib.telemetry import logger

_MAX_ATTEMPTS = 10
_RESERVED_ID = re.compile(r"\.|\.\.|__.*__")

DocumentSnapshot = AnySnapshot[DocumentReference]
T = TypeVar("T")

_log = logger(__name__)


def connect(project_id: str) -> Client:
    """A client with the process's own credentials, or of the emulator at FIRESTORE_EMULATOR_HOST if that is set."""
    return Client(project=project_id)


class FirestoreDocuments(Documents):
    """The document store in Firestore.

    A write has the precondition that the document has not changed since it was read; if it has, both are repeated.
    A transaction of one document does the same with one more call, and the client's transactions have no time limit.
    """

    def __init__(self, client: Client, clock: Clock | None = None, *, timeout_s: float = 3.0) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        # By default the client retries for a minute, longer than any caller waits.
        retry = Retry(if_exception_type(api.ServiceUnavailable), initial=0.05, maximum=0.5, timeout=timeout_s)
        self._limits: dict[str, Any] = {"retry": retry, "timeout": timeout_s}

    @override
    def put(
        self,
        collection: str,
        id: str,
        data: Document,
        version: int | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> bool:

        def write(ref: DocumentReference, stored: DocumentSnapshot) -> bool:
            at = version
            if stored.exists and at is not None and self._is_live(stored) and stored.get("version") >= at:
                return False
            if at is None:
                at = max(int(self._clock.now().timestamp() * 1e6), stored.get("version") + 1 if stored.exists else 0)
            fields = {"data": dict(data), "version": at, "expires_at": expires_at}
            if stored.exists:
                ref.update(fields, _unchanged(stored), **self._limits)
            else:
                ref.create(fields, **self._limits)
            return True

        return self._change(collection, id, write)

    @override
    def update(self, collection: str, id: str, fields: Document) -> Document | None:
        changes = {FieldPath("data", name).to_api_repr(): value for name, value in fields.items()}

        def write(ref: DocumentReference, stored: DocumentSnapshot) -> Document | None:
            if not self._is_live(stored):
                return None
            ref.update(changes, _unchanged(stored), **self._limits)
            return {**stored.get("data"), **fields}

        return self._change(collection, id, write)

    @override
    def get(self, collection: str, id: str) -> Document | None:
        with _translated():
            stored = self._ref(collection, id).get(**self._limits)
        return _data(stored) if self._is_live(stored) else None

    @override
    def list(self, collection: str, limit: int) -> Sequence[tuple[str, Document]]:
        query = self._collection(collection).order_by("version", direction=Query.DESCENDING).limit(limit)
        live: list[tuple[str, Document]] = []
        with _translated():
            # Expired documents are filtered here: a filter in the query would need an index per collection group.
            while len(live) < limit and (page := query.get(**self._limits)):
                live += [(unquote(stored.id), _data(stored)) for stored in page if self._is_live(stored)]
                query = query.start_after(page[-1])
        return live[:limit]

    @override
    def count(self, collection: str, limit: int) -> int:
        is_live = Or([FieldFilter("expires_at", "==", None), FieldFilter("expires_at", ">", self._clock.now())])
        query = AggregationQuery(self._collection(collection).where(filter=is_live).limit(limit)).count()
        with _translated():
            ((answer,),) = query.get(**self._limits)
        return int(answer.value)

    @override
    def delete(self, collection: str, id: str) -> bool:
        def write(ref: DocumentReference, stored: DocumentSnapshot) -> bool:
            if not self._is_live(stored):
                return False
            ref.delete(_unchanged(stored), **self._limits)
            return True

        return self._change(collection, id, write)

    def _change(self, collection: str, id: str, write: Callable[[DocumentReference, DocumentSnapshot], T]) -> T:
        ref = self._ref(collection, id)
        with _translated():
            for _ in range(_MAX_ATTEMPTS):
                stored = ref.get(**self._limits)
                # The document was created, changed or deleted since it was read.
                with suppress(api.Conflict, api.FailedPrecondition, api.NotFound):
                    return write(ref, stored)
        raise Aborted("another call is changing the same; try again")

    def _is_live(self, stored: DocumentSnapshot) -> bool:
        if not stored.exists:
            return False
        expires_at = stored.get("expires_at")
        return expires_at is None or expires_at > self._clock.now()

    def _collection(self, collection: str) -> CollectionReference:
        return self._client.collection(collection)

    def _ref(self, collection: str, id: str) -> DocumentReference:
        name = quote(id, safe="")
        if _RESERVED_ID.fullmatch(name):
            name = f"%{ord(name[0]):02X}{name[1:]}"
        return self._collection(collection).document(name)


def _data(stored: DocumentSnapshot) -> Document:
    data: Document = stored.get("data")
    return data


def _unchanged(stored: DocumentSnapshot) -> LastUpdateOption:
    return LastUpdateOption(stored.update_time)


@contextmanager
def _translated() -> Iterator[None]:
    """Translates Firestore's errors to `adlib.errors`; its own messages are only logged."""
    try:
        yield
    except api.DeadlineExceeded as error:
        raise DeadlineExceeded("the document store took too long; try again") from error
    except api.Aborted as error:
        raise Aborted("another call is changing the same; try again") from error
    except (api.ServiceUnavailable, api.TooManyRequests, api.RetryError, TransportError) as error:
        _log.warning("documents_unavailable", error=str(error))
        raise Unavailable("the document store does not answer; try again") from error
    except (api.GoogleAPICallError, GoogleAuthError) as error:
        _log.error("documents_error", error=str(error), exc_info=True)
        raise Internal from error
