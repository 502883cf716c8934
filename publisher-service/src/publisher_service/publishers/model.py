"""Publishers, their sites and their zones."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import AlreadyExists, FailedPrecondition, NotFound


class PublisherNotFound(NotFound):
    """No such publisher, or another organization's."""

    reason = ErrorReason.PUBLISHER_NOT_FOUND

    def __init__(self, publisher_id: UUID) -> None:
        super().__init__("there is no such publisher in this organization", publisherId=publisher_id)


class SiteNotFound(NotFound):
    """No such site under the publisher."""

    reason = ErrorReason.SITE_NOT_FOUND

    def __init__(self, site_id: UUID) -> None:
        super().__init__("this publisher has no such site", siteId=site_id)


class PublisherExists(AlreadyExists):
    """The organization has a publisher already."""

    reason = ErrorReason.PUBLISHER_EXISTS

    def __init__(self) -> None:
        super().__init__("this organization is registered as a publisher already; list publishers to see it")


class NotAPublisherOrganization(FailedPrecondition):
    """The organization is none of kind PUBLISHER."""

    reason = ErrorReason.NOT_A_PUBLISHER_ORGANIZATION

    def __init__(self) -> None:
        super().__init__("only an organization of the kind PUBLISHER can be registered as a publisher")


class PublisherNotApproved(FailedPrecondition):
    """The publisher still waits for staff."""

    reason = ErrorReason.PUBLISHER_NOT_APPROVED

    def __init__(self, publisher_id: UUID) -> None:
        super().__init__(
            "the publisher is not approved yet; wait until staff have approved it", publisherId=publisher_id
        )


class State(StrEnum):
    """Where a publisher is in its life."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who sells traffic, and the part of the spend in its zones that it earns."""

    id: UUID
    organization_id: UUID
    name: str
    email: str
    state: State
    share_basis_points: int
    created_at: datetime
    updated_at: datetime

    def approve(self, at: datetime) -> "Publisher":
        """The publisher, approved; itself where it was before."""
        return self if self.state is State.APPROVED else replace(self, state=State.APPROVED, updated_at=at)

    def require_approved(self) -> None:
        """PUBLISHER_NOT_APPROVED while staff have not approved it."""
        if self.state is not State.APPROVED:
            raise PublisherNotApproved(self.id)


@dataclass(frozen=True, slots=True)
class Site:
    """A web site."""

    id: UUID
    organization_id: UUID
    publisher_id: UUID
    name: str
    url: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Zone:
    """A place for ads on a site; width and height in CSS pixels."""

    id: UUID
    organization_id: UUID
    publisher_id: UUID
    site_id: UUID
    name: str
    width: int
    height: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ZoneOwner:
    """Who earns from a zone."""

    zone_id: UUID
    publisher_id: UUID
    organization_id: UUID
    share_basis_points: int
