"""Documents in Firestore.

A document there has three fields: `data`, `version` and `expires_at`, a timestamp or null. Expired documents are
deleted by Firestore itself, within about a day, where each collection group has a TTL policy on `expires_at`.
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

from adlib.clock import Clock, SystemClock
from adlib.documents.protocol import Document
from adlib.errors import Aborted, DeadlineExceeded, Internal, Unavailable
from adlib.telemetry import logger

_TRIES = 10
# Ids that Firestore keeps for itself.
_RESERVED = re.compile(r"\.|\.\.|__.*__")

DocumentSnapshot = AnySnapshot[DocumentReference]
T = TypeVar("T")

_log = logger(__name__)


def connect(project_id: str) -> Client:
    """A client with the process's own credentials, or of an emulator where FIRESTORE_EMULATOR_HOST names one."""
    return Client(project=project_id)


class FirestoreDocuments:
    """Documents in Firestore.

    A write is made on the condition that the document is still as it was read, and both are repeated where it is not.
    That is what a transaction of one document would do, in one call less, and with a time limit, which the client's
    transactions have none of.
    """

    def __init__(self, client: Client, clock: Clock | None = None, *, timeout_s: float = 3.0) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        # The client's own way is to try for a minute, which is longer than any caller waits.
        retry = Retry(if_exception_type(api.ServiceUnavailable), initial=0.05, maximum=0.5, timeout=timeout_s)
        self._limits: dict[str, Any] = {"retry": retry, "timeout": timeout_s}

    def put(
        self,
        collection: str,
        id: str,
        data: Document,
        version: int | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> bool:
        """Stores the document unless one of this version or a later one is there; whether it did."""

        def write(ref: DocumentReference, kept: DocumentSnapshot) -> bool:
            at = version
            if kept.exists and at is not None and self._is_live(kept) and kept.get("version") >= at:
                return False
            if at is None:
                at = max(int(self._clock.now().timestamp() * 1e6), kept.get("version") + 1 if kept.exists else 0)
            fields = {"data": dict(data), "version": at, "expires_at": expires_at}
            if kept.exists:
                ref.update(fields, _unchanged(kept), **self._limits)
            else:
                ref.create(fields, **self._limits)
            return True

        return self._change(collection, id, write)

    def update(self, collection: str, id: str, fields: Document) -> Document | None:
        """Sets these fields and leaves the others, the version and the expiry; the whole after it, or None."""
        changes = {FieldPath("data", name).to_api_repr(): value for name, value in fields.items()}

        def write(ref: DocumentReference, kept: DocumentSnapshot) -> Document | None:
            if not self._is_live(kept):
                return None
            ref.update(changes, _unchanged(kept), **self._limits)
            return {**kept.get("data"), **fields}

        return self._change(collection, id, write)

    def get(self, collection: str, id: str) -> Document | None:
        """The document, or None."""
        with _translated():
            kept = self._ref(collection, id).get(**self._limits)
        return _data(kept) if self._is_live(kept) else None

    def list(self, collection: str, limit: int) -> Sequence[tuple[str, Document]]:
        """Ids and documents, the latest version first."""
        query = self._collection(collection).order_by("version", direction=Query.DESCENDING).limit(limit)
        live: list[tuple[str, Document]] = []
        with _translated():
            # What has expired is left out here: to do it in the query would take an index a collection group.
            while len(live) < limit and (page := query.get(**self._limits)):
                live += [(unquote(kept.id), _data(kept)) for kept in page if self._is_live(kept)]
                query = query.start_after(page[-1])
        return live[:limit]

    def count(self, collection: str, limit: int) -> int:
        """How many there are, counted up to the limit."""
        is_live = Or([FieldFilter("expires_at", "==", None), FieldFilter("expires_at", ">", self._clock.now())])
        query = AggregationQuery(self._collection(collection).where(filter=is_live).limit(limit)).count()
        with _translated():
            ((answer,),) = query.get(**self._limits)
        return int(answer.value)

    def delete(self, collection: str, id: str) -> bool:
        """Deletes the document; whether there was one."""

        def write(ref: DocumentReference, kept: DocumentSnapshot) -> bool:
            if not self._is_live(kept):
                return False
            ref.delete(_unchanged(kept), **self._limits)
            return True

        return self._change(collection, id, write)

    def _change(self, collection: str, id: str, write: Callable[[DocumentReference, DocumentSnapshot], T]) -> T:
        ref = self._ref(collection, id)
        with _translated():
            for _ in range(_TRIES):
                kept = ref.get(**self._limits)
                # It was made, changed or deleted since it was read.
                with suppress(api.Conflict, api.FailedPrecondition, api.NotFound):
                    return write(ref, kept)
        raise Aborted("another call is changing the same; try again")

    def _is_live(self, kept: DocumentSnapshot) -> bool:
        if not kept.exists:
            return False
        expires_at = kept.get("expires_at")
        return expires_at is None or expires_at > self._clock.now()

    def _collection(self, collection: str) -> CollectionReference:
        return self._client.collection(collection)

    def _ref(self, collection: str, id: str) -> DocumentReference:
        name = quote(id, safe="")
        if _RESERVED.fullmatch(name):
            name = f"%{ord(name[0]):02X}{name[1:]}"
        return self._collection(collection).document(name)


def _data(kept: DocumentSnapshot) -> Document:
    data: Document = kept.get("data")
    return data


def _unchanged(kept: DocumentSnapshot) -> LastUpdateOption:
    return LastUpdateOption(kept.update_time)


@contextmanager
def _translated() -> Iterator[None]:
    """What Firestore reports, in our own words; its own stay in the log."""
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
