"""Publishers, their sites and their zones."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import AlreadyExists, FailedPrecondition, NotFound


class PublisherNotFound(NotFound):
    """The organization has no such publisher."""

    reason = ErrorReason.PUBLISHER_NOT_FOUND

    def __init__(self, publisher_id: UUID) -> None:
        super().__init__("there is no such publisher in this organization", publisherId=publisher_id)


class SiteNotFound(NotFound):
    """The publisher has no such site."""

    reason = ErrorReason.SITE_NOT_FOUND

    def __init__(self, site_id: UUID) -> None:
        super().__init__("this publisher has no such site", siteId=site_id)


class PublisherExists(AlreadyExists):
    """The organization has a publisher already."""

    reason = ErrorReason.PUBLISHER_EXISTS

    def __init__(self) -> None:
        super().__init__("this organization is registered as a publisher already; list publishers to see it")


class NotAPublisherOrganization(FailedPrecondition):
    """The organization is not of the kind PUBLISHER."""

    reason = ErrorReason.NOT_A_PUBLISHER_ORGANIZATION

    def __init__(self) -> None:
        super().__init__("only an organization of the kind PUBLISHER can be registered as a publisher")


class PublisherNotApproved(FailedPrecondition):
    """Staff have not approved the publisher."""

    reason = ErrorReason.PUBLISHER_NOT_APPROVED

    def __init__(self, publisher_id: UUID) -> None:
        super().__init__("the publisher is not approved yet; staff have to approve it first", publisherId=publisher_id)


class State(StrEnum):
    """A publisher's state."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"


@dataclass(frozen=True, slots=True)
class Publisher:
    """A seller of traffic; `share_basis_points` is its share of the spend in its zones, 7000 for 70 %."""

    id: UUID
    organization_id: UUID
    name: str
    email: str
    state: State
    share_basis_points: int
    created_at: datetime
    updated_at: datetime

    def approved(self, at: datetime) -> "Publisher":
        """The publisher as APPROVED; the same object where it is APPROVED already."""
        return self if self.state is State.APPROVED else replace(self, state=State.APPROVED, updated_at=at)

    def require_approved(self) -> None:
        """PUBLISHER_NOT_APPROVED while staff have not approved it."""
        if self.state is not State.APPROVED:
            raise PublisherNotApproved(self.id)


@dataclass(frozen=True, slots=True)
class Site:
    """A publisher's web site."""

    id: UUID
    organization_id: UUID
    publisher_id: UUID
    name: str
    url: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Zone:
    """An ad slot on a site; width and height in CSS pixels."""

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
    """The publisher that earns from a zone."""

    zone_id: UUID
    publisher_id: UUID
    organization_id: UUID
    share_basis_points: int
