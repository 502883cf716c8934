"""Preferences, notifications and drafts, through the stubs."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1 import auth_pb2, auth_pb2_grpc, personal_pb2_grpc
from adplatform.auth.v1 import personal_pb2 as pb
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import Event, UserNotified
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from sqlalchemy import insert, select

from adlib.bus import Consumer, RedisBus
from adlib.clock import FixedClock, SystemClock, timestamp
from adlib.db import Database, Query, migrate
from adlib.documents import PostgresDocuments
from adlib.identity import Person
from adlib.ids import new_id
from adlib.rpc import ServiceProcess
from adlib.rpc.call import NO_ORGANIZATION
from adlib.service import connect_redis
from adtesting import FakeAccess, FakeAuditTrail, Identities, eventually, running, stub_channel
from adtesting.auth import FakeFirebase, FakeMailer
from adtesting.pytest_servers import ReusedDatabase
from auth_service.credentials.firebase.model import FirebaseUser
from auth_service.drafts.service import DraftService
from auth_service.drafts.servicer import DraftServicer
from auth_service.mail.service import OutgoingMail
from auth_service.notifications.consumer import NotificationHandler
from auth_service.notifications.service import NotificationService
from auth_service.notifications.servicer import NotificationServicer
from auth_service.preferences.service import PreferenceService
from auth_service.preferences.servicer import PreferencesServicer
from auth_service.tables import outgoing_mails, users

Metadata = list[tuple[str, str]]

ADD_USER = Query(insert(users))
MAILS = Query(select(outgoing_mails.c.kind, outgoing_mails.c.recipient, outgoing_mails.c.parameters).limit(100))


def prepare(url: str) -> None:
    own = ("documents", "inbox")
    migrate(url, *(("adlib", f"migrations/{name}") for name in own), ("auth_service", "migrations"))


@pytest.fixture
def db(reused_database: ReusedDatabase) -> Iterator[Database]:
    database = Database(reused_database("personal", prepare))
    yield database
    database.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(SystemClock().now())


@pytest.fixture
def people() -> Identities:
    return Identities("auth-service")


@pytest.fixture
def notifications(db: Database, clock: FixedClock) -> NotificationService:
    documents = PostgresDocuments(db, clock)
    return NotificationService(db, documents, PreferenceService(documents), OutgoingMail(clock, new_id))


@pytest.fixture
def calls(
    db: Database, clock: FixedClock, people: Identities, notifications: NotificationService
) -> Iterator[grpc.Channel]:
    documents = PostgresDocuments(db, clock)
    services = pb.DESCRIPTOR.services_by_name
    worker = ServiceProcess(
        servicers={
            services["PreferencesService"]: PreferencesServicer(PreferenceService(documents)),
            services["NotificationService"]: NotificationServicer(notifications),
            services["DraftService"]: DraftServicer(DraftService(documents, clock)),
        },
        verifier=people.verifier(),
        access=FakeAccess(),
        audit=FakeAuditTrail(),
    )
    with running(worker) as server, stub_channel(server) as channel:
        yield channel


@pytest.fixture
def ada(people: Identities) -> Person:
    return people.person()


@pytest.fixture
def as_ada(people: Identities, ada: Person) -> Metadata:
    return people.headers(ada)


@pytest.fixture
def as_eve(people: Identities) -> Metadata:
    return people.headers(people.person())


def refused(reason: "ErrorReason.ValueType", method: Callable[..., object], request: object, who: Metadata) -> None:
    with pytest.raises(grpc.RpcError) as error:
        method(request, metadata=who)
    info = ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(error.value).details)
    assert info.reason == ErrorReason.Name(reason)


def struct(text: str) -> Struct:
    return json_format.Parse(text, Struct())


# Preferences


def test_preferences_default_until_set(calls: grpc.Channel, as_ada: Metadata, as_eve: Metadata) -> None:
    stub = personal_pb2_grpc.PreferencesServiceStub(calls)
    defaults = pb.Preferences(theme=pb.Preferences.SYSTEM, language="en", notifications=True)
    get = pb.GetPreferencesRequest()
    assert stub.GetPreferences(get, metadata=as_ada) == defaults
    wanted = pb.Preferences(
        theme=pb.Preferences.DARK, language="de-AT", notifications=False, dashboard_layout=struct('{"rows":[[1,2]]}')
    )
    put = pb.PutPreferencesRequest(
        theme=wanted.theme, language="de-AT", notifications=False, dashboard_layout=wanted.dashboard_layout
    )
    assert stub.PutPreferences(put, metadata=as_ada) == wanted
    assert stub.GetPreferences(get, metadata=as_ada) == wanted
    assert stub.GetPreferences(get, metadata=as_eve) == defaults
    stub.PutPreferences(pb.PutPreferencesRequest(language="fr"), metadata=as_ada)
    replaced = pb.Preferences(theme=pb.Preferences.SYSTEM, language="fr", notifications=True)
    assert stub.GetPreferences(get, metadata=as_ada) == replaced


def test_layout_size_is_limited(calls: grpc.Channel, as_ada: Metadata) -> None:
    put = pb.PutPreferencesRequest()
    put.dashboard_layout["a"] = "x" * 65_536
    refused(ErrorReason.INVALID_FIELD, personal_pb2_grpc.PreferencesServiceStub(calls).PutPreferences, put, as_ada)


# Drafts


@pytest.fixture
def drafts(calls: grpc.Channel) -> personal_pb2_grpc.DraftServiceStub:
    return personal_pb2_grpc.DraftServiceStub(calls)


def draft(id: str = "new-campaign", text: str = '{"name":"Spring"}', expires_at: datetime | None = None):
    return pb.PutDraftRequest(draft_id=id, data=struct(text), expire_time=timestamp(expires_at) if expires_at else None)


def test_draft_is_visible_only_to_its_user(
    drafts: personal_pb2_grpc.DraftServiceStub, as_ada: Metadata, as_eve: Metadata, clock: FixedClock
) -> None:
    text = '{"name":"Spring\\u0000","budget":5,"grid":[[1],[2.5]]}'
    kept = drafts.PutDraft(draft(text=text), metadata=as_ada)
    assert kept.expire_time.ToMicroseconds() == timestamp(clock.at + timedelta(days=7)).ToMicroseconds()
    assert kept.data == struct(text)
    get = pb.GetDraftRequest(draft_id="new-campaign")
    assert drafts.GetDraft(get, metadata=as_ada) == kept
    refused(ErrorReason.DRAFT_NOT_FOUND, drafts.GetDraft, get, as_eve)
    delete = pb.DeleteDraftRequest(draft_id="new-campaign")
    refused(ErrorReason.DRAFT_NOT_FOUND, drafts.DeleteDraft, delete, as_eve)
    drafts.PutDraft(draft(text="{}"), metadata=as_ada)
    assert drafts.GetDraft(get, metadata=as_ada).data == Struct()
    drafts.DeleteDraft(delete, metadata=as_ada)
    refused(ErrorReason.DRAFT_NOT_FOUND, drafts.GetDraft, get, as_ada)
    refused(ErrorReason.DRAFT_NOT_FOUND, drafts.DeleteDraft, delete, as_ada)


def test_expired_draft_is_not_found(
    drafts: personal_pb2_grpc.DraftServiceStub, as_ada: Metadata, clock: FixedClock
) -> None:
    expires_at = clock.at + timedelta(days=29)
    drafts.PutDraft(draft(expires_at=expires_at), metadata=as_ada)
    get = pb.GetDraftRequest(draft_id="new-campaign")
    clock.at = expires_at - timedelta(microseconds=1)
    assert drafts.GetDraft(get, metadata=as_ada).expire_time.ToMicroseconds() == timestamp(expires_at).ToMicroseconds()
    clock.at = expires_at
    refused(ErrorReason.DRAFT_NOT_FOUND, drafts.GetDraft, get, as_ada)
    refused(ErrorReason.DRAFT_NOT_FOUND, drafts.DeleteDraft, pb.DeleteDraftRequest(draft_id="new-campaign"), as_ada)


@pytest.mark.parametrize("days", [-1, 31])
def test_draft_expires_within_thirty_days(
    drafts: personal_pb2_grpc.DraftServiceStub, as_ada: Metadata, clock: FixedClock, days: int
) -> None:
    put = draft(expires_at=clock.at + timedelta(days=days))
    refused(ErrorReason.INVALID_FIELD, drafts.PutDraft, put, as_ada)


def test_draft_size_is_limited(drafts: personal_pb2_grpc.DraftServiceStub, as_ada: Metadata) -> None:
    refused(ErrorReason.INVALID_FIELD, drafts.PutDraft, draft(text='{"a":"%s"}' % ("x" * 65_536)), as_ada)


def test_user_has_at_most_a_hundred_drafts(
    drafts: personal_pb2_grpc.DraftServiceStub, as_ada: Metadata, as_eve: Metadata, clock: FixedClock
) -> None:
    for number in range(100):
        drafts.PutDraft(draft(f"{number}"), metadata=as_ada)
    refused(ErrorReason.LIMIT_REACHED, drafts.PutDraft, draft("100"), as_ada)
    drafts.PutDraft(draft("7", text="{}"), metadata=as_ada)
    drafts.PutDraft(draft("100"), metadata=as_eve)
    drafts.DeleteDraft(pb.DeleteDraftRequest(draft_id="8"), metadata=as_ada)
    drafts.PutDraft(draft("100"), metadata=as_ada)
    clock.at += timedelta(days=7)
    drafts.PutDraft(draft("101"), metadata=as_ada)


# Notifications


@pytest.fixture
def inbox(calls: grpc.Channel) -> personal_pb2_grpc.NotificationServiceStub:
    return personal_pb2_grpc.NotificationServiceStub(calls)


@pytest.fixture
def deliver(redis_url: str, notifications: NotificationService) -> Iterator[Callable[[Sequence[Event]], None]]:
    """Publishes these events and handles them, as the service does in the background."""
    shared = connect_redis(redis_url)
    bus = RedisBus(shared)
    consumer = Consumer(bus.subscribe("auth", "auth-service", "test"), NotificationHandler(notifications))

    def call(events: Sequence[Event]) -> None:
        bus.publish("auth", [event.SerializeToString() for event in events])
        done = 0
        while done < len(events):
            worked = consumer.run_once(1000)
            assert worked, "a message was not worked on"
            done += worked

    yield call
    shared.close()


def notified(
    person: Person, at: datetime, title: str = "Role changed", organization_id: UUID = NO_ORGANIZATION
) -> Event:
    event = Event(id=str(new_id()), organization_id=str(organization_id), time=timestamp(at))
    event.user_notified.user_id = str(person.user_id)
    event.user_notified.kind = UserNotified.ROLE_CHANGED
    event.user_notified.title = title
    event.user_notified.body = "You are a manager now."
    return event


def sign_up(db: Database, person: Person, email: str, at: datetime, verified_at: datetime | None) -> None:
    row = {"id": person.user_id, "email": email, "name": "Ada", "created_at": at, "updated_at": at}
    with db.transaction() as tx:
        tx.execute(ADD_USER, **row, email_verified_at=verified_at, firebase_uid=None)


@pytest.fixture
def with_email(db: Database, ada: Person, clock: FixedClock) -> str:
    sign_up(db, ada, "ada@example.com", clock.at, clock.at)
    return "ada@example.com"


def test_event_creates_one_notification_and_one_mail(
    inbox, deliver, ada: Person, as_ada: Metadata, as_eve: Metadata, clock: FixedClock, db: Database, with_email: str
) -> None:
    organization_id = uuid4()
    event = notified(ada, clock.at, organization_id=organization_id)
    other = Event(id=str(new_id()))
    other.user_signed_up.user_id = str(ada.user_id)
    deliver([event, event, other])
    deliver([event])
    expected = pb.Notification(
        id=event.id, kind=UserNotified.ROLE_CHANGED, title="Role changed", body="You are a manager now.",
        create_time=event.time, organization_id=str(organization_id),
    )  # fmt: skip
    request = pb.ListNotificationsRequest()
    assert list(inbox.ListNotifications(request, metadata=as_ada).notifications) == [expected]
    assert not inbox.ListNotifications(request, metadata=as_eve).notifications
    words = {"title": "Role changed", "body": "You are a manager now."}
    assert [(row.kind, row.recipient, row.parameters) for row in db.all(MAILS)] == [("NOTIFICATION", with_email, words)]


def test_notification_is_not_mailed_to_unverified_email(
    inbox, deliver, ada: Person, as_ada: Metadata, clock: FixedClock, db: Database
) -> None:
    sign_up(db, ada, "somebody.else@example.com", clock.at, None)
    deliver([notified(ada, clock.at, "Buy at https://example.com")])
    assert len(inbox.ListNotifications(pb.ListNotificationsRequest(), metadata=as_ada).notifications) == 1
    assert not db.all(MAILS)


def test_read_notification_stays_read(
    inbox, deliver, ada: Person, as_ada: Metadata, as_eve: Metadata, clock: FixedClock
) -> None:
    event = notified(ada, clock.at)
    deliver([event])
    read = pb.ReadNotificationRequest(notification_id=event.id.upper())
    refused(ErrorReason.NOTIFICATION_NOT_FOUND, inbox.ReadNotification, read, as_eve)
    answer = inbox.ReadNotification(read, metadata=as_ada)
    assert (answer.id, answer.read, answer.organization_id) == (event.id, True, "")
    deliver([event])
    assert list(inbox.ListNotifications(pb.ListNotificationsRequest(), metadata=as_ada).notifications) == [answer]
    nobodys = pb.ReadNotificationRequest(notification_id=str(uuid4()))
    refused(ErrorReason.NOTIFICATION_NOT_FOUND, inbox.ReadNotification, nobodys, as_ada)


def test_newest_fifty_notifications_are_listed_for_ninety_days(
    inbox, deliver, ada: Person, as_ada: Metadata, clock: FixedClock
) -> None:
    deliver([notified(ada, clock.at + timedelta(seconds=number), str(number)) for number in range(52)])
    listed = inbox.ListNotifications(pb.ListNotificationsRequest(), metadata=as_ada).notifications
    assert [one.title for one in listed] == [str(number) for number in range(51, 1, -1)]
    clock.at += timedelta(days=90, seconds=50)
    listed = inbox.ListNotifications(pb.ListNotificationsRequest(), metadata=as_ada).notifications
    assert [one.title for one in listed] == ["51"]


def test_credential_changes_are_not_mailed_twice(
    inbox, deliver, ada: Person, as_ada: Metadata, clock: FixedClock, db: Database, with_email: str
) -> None:
    event = notified(ada, clock.at)
    event.user_notified.kind = UserNotified.PASSWORD_CHANGED
    deliver([event])
    (listed,) = inbox.ListNotifications(pb.ListNotificationsRequest(), metadata=as_ada).notifications
    assert listed.kind == UserNotified.PASSWORD_CHANGED
    assert not db.all(MAILS)


def test_notification_mail_respects_preferences(
    calls, inbox, deliver, ada: Person, as_ada: Metadata, clock: FixedClock, db: Database, with_email: str
) -> None:
    put = pb.PutPreferencesRequest(notifications=False)
    personal_pb2_grpc.PreferencesServiceStub(calls).PutPreferences(put, metadata=as_ada)
    deliver([notified(ada, clock.at)])
    assert len(inbox.ListNotifications(pb.ListNotificationsRequest(), metadata=as_ada).notifications) == 1
    assert not db.all(MAILS)


@pytest.mark.parametrize("kind", [UserNotified.SESSION_STOLEN, UserNotified.API_KEY_CREATED])
def test_stolen_session_cannot_suppress_its_notification(
    calls, deliver, ada: Person, as_ada: Metadata, clock: FixedClock, db: Database, with_email: str, kind: int
) -> None:
    put = pb.PutPreferencesRequest(notifications=False)
    personal_pb2_grpc.PreferencesServiceStub(calls).PutPreferences(put, metadata=as_ada)
    event = notified(ada, clock.at)
    event.user_notified.kind = kind
    deliver([event])
    assert [row.recipient for row in db.all(MAILS)] == [with_email]


def test_running_service_lists_and_mails_notifications_from_the_bus(
    channel: grpc.Channel, mailer: FakeMailer, redis_url: str, firebase: FakeFirebase
) -> None:
    firebase.users["ada"] = FirebaseUser("uid-ada", "ada@example.com", email_verified=True)
    request = auth_pb2.SignUpRequest(firebase_id_token="ada", name="Ada", organization_name="Acme")
    signed = auth_pb2_grpc.AuthServiceStub(channel).SignUp(request)
    who = [("authorization", f"Bearer {signed.access_token}")]
    stub = personal_pb2_grpc.NotificationServiceStub(channel)
    event = notified(Person(UUID(signed.user.id), uuid4()), SystemClock().now())
    shared = connect_redis(redis_url)
    RedisBus(shared).publish("auth", [event.SerializeToString()] * 2)
    eventually(lambda: stub.ListNotifications(pb.ListNotificationsRequest(), metadata=who).notifications)
    mailed = eventually(lambda: [mail for mail in mailer.sent if mail.subject == event.user_notified.title])
    assert [(mail.recipient, mail.text.strip()) for mail in mailed] == [("ada@example.com", event.user_notified.body)]
    shared.close()
